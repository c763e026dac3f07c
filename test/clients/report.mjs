// What every scenario shares: checks that are counted, errors that are collected, one JSON line on stdout at the end.
// The test writes a line to stdin when the proxy has been restarted; until then errors of the connection are expected.
import { createInterface } from 'node:readline';
import { isDeepStrictEqual } from 'node:util';
import { readFileSync } from 'node:fs';

export const [, , pkg, host, port, protocol] = process.argv;
export const prefix = `js:${pkg}:${protocol}:`;
export const big = 'x'.repeat(1 << 20);
export const binary = Buffer.from([0, 1, 2, 13, 10, 36, 42, 255, 254, 128, 0]);

const lines = createInterface({ input: process.stdin });
const next = lines[Symbol.asyncIterator]();
const result = { client: pkg, version: '', protocol: Number(protocol), checks: 0, errors: [] };
let restarting = false;

result.version = JSON.parse(readFileSync(new URL(`./node_modules/${pkg}/package.json`, import.meta.url))).version;

// A library that is unhappy says so in one of these ways.
for (const name of ['warn', 'error']) {
  console[name] = (...args) => fail(`console.${name}: ${args.join(' ')}`);
}
process.on('warning', (w) => fail(`warning: ${w}`));
process.on('unhandledRejection', (e) => fail(`unhandled rejection: ${e?.stack ?? e}`));
process.on('uncaughtException', (e) => fail(`uncaught exception: ${e?.stack ?? e}`));

export function fail(text) {
  if (!restarting) result.errors.push(String(text));
}

export function check(name, got, want) {
  result.checks++;
  if (!isDeepStrictEqual(got, want)) {
    fail(`${name}: got ${JSON.stringify(got)?.slice(0, 300)}, want ${JSON.stringify(want)?.slice(0, 300)}`);
  }
}

export async function step(name, f) {
  try {
    await f();
  } catch (e) {
    fail(`${name}: ${e?.stack ?? e}`);
  }
}

// restart asks the test to restart the proxy on the same port and returns when it is back.
export async function restart(during) {
  restarting = true;
  console.log(JSON.stringify({ event: 'restart' }));
  await next.next();
  await during();
  restarting = false;
}

// meanwhile lets the test do its part and returns a promise of its end; unlike restart it expects no error.
export function meanwhile() {
  console.log(JSON.stringify({ event: 'restart' }));
  return next.next();
}

export function finish() {
  console.log(JSON.stringify({ event: 'done', ...result }));
  lines.close();
  process.stdin.destroy();
  // A connection that a failed step left open would keep the process for ever.
  setTimeout(() => process.exit(1), 3000).unref();
}
