// SPDX-License-Identifier: LGPL-2.1-or-later
// Promises, timers, the thread pool, files, worker threads with shared memory, and code that is compiled as it runs.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { Worker, isMainThread, workerData, parentPort } = require('worker_threads');

const size = Number(process.argv[2]);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const sha = (text) => crypto.createHash('sha256').update(text).digest('hex');

if (!isMainThread) {
  const cells = new Int32Array(workerData.cells);
  let sum = 0;
  for (let i = 0; i < size * 20000; ++i) {
    sum = (sum * 31 + i) | 0;
    if (i % 10000 === 0) Atomics.add(cells, 0, 1);
  }
  for (let i = 0; i < size; ++i) {
    Atomics.wait(cells, 1, 0, 1);
    parentPort.postMessage(sha(`${workerData.name} ${i}`));
  }
  parentPort.postMessage({ sum });
} else {
  main().catch((error) => { console.log(error.stack); process.exit(1); });
}

async function main() {
  const cells = new SharedArrayBuffer(8);
  const all = crypto.createHash('sha256');
  const workers = [1, 2].map((name) => new Promise((done, broken) => {
    const texts = [];
    const worker = new Worker(__filename, { argv: process.argv.slice(2), workerData: { name, cells } });
    worker.on('error', broken);
    worker.on('message', (message) => texts.push(JSON.stringify(message)));
    worker.on('exit', () => done(texts.join()));
  }));
  let ticks = 0;
  const ticking = setInterval(() => { ticks++; }, 2);
  const file = path.join(process.cwd(), 'scratch');
  let last = process.hrtime.bigint();
  for (let i = 0; i < size; ++i) {
    await sleep(1);
    const time = process.hrtime.bigint();
    if (time < last) throw new Error('the clock went back');
    last = time;
    await fs.promises.writeFile(file, sha(`${i}`).repeat(100));
    all.update(await fs.promises.readFile(file));
    const keys = await Promise.all([1, 2, 3, 4].map((n) => new Promise((done, broken) => {
      crypto.pbkdf2(`${i}`, `${n}`, 300, 32, 'sha256', (error, key) => (error ? broken(error) : done(key)));
    })));
    keys.forEach((key) => all.update(key));
  }
  all.update((await Promise.all(workers)).join());
  clearInterval(ticking);
  if (!ticks) throw new Error('no ticks');
  console.log(all.digest('hex'), Atomics.load(new Int32Array(cells), 0));
}
