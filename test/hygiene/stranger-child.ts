/**
 * `stranger-child SOCKET`: as whoever it runs as, tries each path of standard input (JSON) in every way that could give
 * something, and prints what it got.
 */
import { accessSync, constants, lstatSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect } from 'node:net';

const paths: string[] = JSON.parse(readFileSync(0, 'utf8'));
const ways: Record<string, (path: string) => void> = {
  stat: (path) => void lstatSync(path),
  read: (path) => void openSync(path, constants.O_RDONLY | constants.O_NONBLOCK),
  write: (path) => void openSync(path, constants.O_WRONLY | constants.O_NONBLOCK),
  list: (path) => void readdirSync(path),
  link: (path) => void readlinkSync(path),
  run: (path) => accessSync(path, constants.X_OK),
};

const got: string[] = [];
for (const path of paths) {
  for (const [way, attempt] of Object.entries(ways)) {
    try {
      attempt(path);
      got.push(`${way} ${path}`);
    } catch {
      // As it should be.
    }
  }
}
const socket = process.argv[2];
if (socket !== undefined && (await connects(socket))) got.push(`connect ${socket}`);
console.log(JSON.stringify(got));

function connects(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const made = connect(path);
    made.once('connect', () => {
      made.destroy();
      resolve(true);
    });
    made.once('error', () => resolve(false));
  });
}
