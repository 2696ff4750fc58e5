import { LarderError } from '../errors.js';

/** What the setting `docker_registry` names: where images come from whose reference names no registry of its own. */
export type DockerRegistry =
  | {
      readonly kind: 'registry';
      /** `host[:port]` as references spell it. */
      readonly host: string;
      /** `http://` was asked for. */
      readonly plain: boolean;
    }
  /** A directory of archives, for every reference. */
  | { readonly kind: 'directory'; readonly path: string }
  /** Archives in HDFS, for every reference. */
  | { readonly kind: 'hdfs'; readonly url: string };

const HUB_HOSTS = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);

/** Undefined for Docker Hub, which is the default. Rejects with LARDER_FLAGS_INVALID. */
export function parseDockerRegistry(text: string | undefined): DockerRegistry | undefined {
  if (text === undefined) return undefined;
  if (text.startsWith('/')) return { kind: 'directory', path: text };
  if (text.startsWith('hdfs://')) return { kind: 'hdfs', url: text };
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.hostname === '')
    throw invalid(text, 'not a registry');
  if (url.username !== '' || url.password !== '')
    throw invalid(text.replace(/\/\/[^/]*@/, '//…@'), 'credentials belong into the Docker configuration');
  if (!/^\/?$/.test(url.pathname) || url.search !== '' || url.hash !== '') {
    throw invalid(text, `a path behind the host is not supported (${url.pathname}${url.search}${url.hash})`, PATH_HINT);
  }
  if (HUB_HOSTS.has(url.host)) return undefined;
  // The port that the scheme implies is not written in a reference either; plain HTTP has its own.
  const plain = url.protocol === 'http:';
  const host = plain && url.port === '' ? `${url.hostname}:80` : url.host;
  return { kind: 'registry', host, plain };
}

const PATH_HINT =
  'for a registry or repositories below a path leave docker_registry out, and give docker.io that place in a registries.conf or hosts.toml (registries_conf)';

const FORMS =
  'write https://HOST[:PORT], http://HOST[:PORT], hdfs://[HOST[:PORT]]/PATH or the absolute path of a directory of archives';

function invalid(text: string, why: string, hint = FORMS): LarderError {
  return new LarderError('LARDER_FLAGS_INVALID', `setting docker_registry: ${JSON.stringify(text)}: ${why}`, { hint });
}
