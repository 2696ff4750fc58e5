import { rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { LarderError, systemError } from '../errors.js';
import { findProgram, isExecutableFile, lastLine, runProgram } from '../linux/run-program.js';

export interface HdfsOptions {
  /** *what we were doing*: *to which thing*; opens every message. */
  readonly doing: string;
  /** Where Hadoop is installed: `bin/hadoop` below it. Else $HADOOP_HOME, else PATH. */
  readonly hadoopHome?: string | undefined;
  readonly maxBytes: number;
  /** What to reject with when the file is larger. */
  readonly tooLong: () => LarderError;
  readonly signal?: AbortSignal | undefined;
}

const DEFAULT_PORT = 8020;
/** Hadoop has retries of its own and says nothing while it works. */
const TIMEOUT_MS = 60 * 60 * 1000;
/** What a client of Hadoop is configured by; nothing else of our environment goes along. */
const PASSED_ON = /^(?:PATH|HOME|USER|JAVA_HOME|KRB5CCNAME|KRB5_CONFIG|HADOOP_[A-Z_]+)$/;

/** `hdfs://host/path` with its port; without a host only the path, which is in the file system that Hadoop has by default. */
export function hdfsSource(url: string): string | undefined {
  const match = /^hdfs:\/\/([A-Za-z0-9.-]*)(:[0-9]{1,5})?(\/[^\0]*)$/.exec(url);
  if (match === null) return undefined;
  const [, host = '', port, path = ''] = match;
  if (host === '') return port === undefined ? path : undefined;
  return `hdfs://${host}${port ?? `:${DEFAULT_PORT}`}${path}`;
}

/**
 * Copies a file out of HDFS with the host's `hadoop fs -copyToLocal`, and returns its size. Rejects with
 * LARDER_IMAGE_NOT_FOUND, LARDER_REGISTRY_UNAVAILABLE, LARDER_BACKEND_UNAVAILABLE where there is no Hadoop,
 * LARDER_TIMEOUT, LARDER_ABORTED, or `tooLong`; then nothing is left at `path`.
 */
export async function copyFromHdfs(url: string, path: string, options: HdfsOptions): Promise<number> {
  const { doing, signal } = options;
  const source = hdfsSource(url);
  if (source === undefined)
    throw new LarderError('LARDER_REFERENCE_INVALID', `${doing}: ${url}: not hdfs://[HOST[:PORT]]/PATH`);
  const program = await findHadoop(doing, options.hadoopHome);
  const env = Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) =>
      PASSED_ON.test(name) && value !== undefined ? [[name, value]] : [],
    ),
  );
  let whole = false;
  try {
    const args = ['fs', '-copyToLocal', source, resolve(path)];
    const { status, stderr } = await runProgram(program, args, { doing, env, timeoutMs: TIMEOUT_MS, signal });
    if (status !== 0) throw failed(doing, stderr);
    const { size } = await stat(path);
    if (size > options.maxBytes) throw options.tooLong();
    whole = true;
    return size;
  } catch (error) {
    throw systemError(doing, error);
  } finally {
    // Hadoop writes under another name first.
    if (!whole) await Promise.all([path, `${path}._COPYING_`].map((each) => rm(each, { force: true })));
  }
}

async function findHadoop(doing: string, hadoopHome: string | undefined): Promise<string> {
  const home = hadoopHome ?? process.env['HADOOP_HOME'];
  const program = home === undefined ? undefined : resolve(join(home, 'bin', 'hadoop'));
  if (program !== undefined && (await isExecutableFile(program))) return program;
  const found = hadoopHome === undefined ? await findProgram('hadoop', process.env['PATH']) : undefined;
  if (found !== undefined) return found;
  throw new LarderError(
    'LARDER_BACKEND_UNAVAILABLE',
    `${doing}: there is no hadoop command${program === undefined ? '' : ` at ${program}`}`,
    { hint: 'install a Hadoop client and set hadoop_home to where it is' },
  );
}

/** Hadoop has one exit status for all failures. */
function failed(doing: string, stderr: string): LarderError {
  const said = lastLine(stderr);
  return /No such file or directory/i.test(said)
    ? new LarderError('LARDER_IMAGE_NOT_FOUND', `${doing}: HDFS does not have it`, { hint: 'check the name' })
    : new LarderError('LARDER_REGISTRY_UNAVAILABLE', `${doing}: hadoop failed${said === '' ? '' : `: ${said}`}`);
}
