// The scenario of ../README.md with the npm package "jenkins".
//
// The package asks for a crumb before every POST, the one that reads the
// console included, and follows no redirect: it wants to see the 302 of
// stop and doDelete.
"use strict";

const { readFileSync } = require("node:fs");
const { setTimeout: sleep } = require("node:timers/promises");
const Jenkins = require("jenkins");

const deadline = Date.now() + 50_000;

async function main() {
  const { JENKINS_URL, JENKINS_USER, JENKINS_TOKEN, JENKINS_JOB, JENKINS_JOB_XML } = process.env;
  const url = new URL(JENKINS_URL);
  url.username = JENKINS_USER;
  url.password = JENKINS_TOKEN;
  const jenkins = new Jenkins({ baseUrl: url.href.replace(/\/$/, "") });
  const job = JENKINS_JOB;

  // The package has no call for "who am I"; its HTTP layer (papi) does it.
  const me = await jenkins._get({ path: "/me/api/json" }, ({ err, res }, next) => (err ? next(err) : next(false, res.body)));
  check(me.id === JENKINS_USER, `whoami: ${JSON.stringify(me)}`);
  done("whoami");

  check(!(await names(jenkins)).includes(job), "job is there before it was made");
  done("list");

  const config = readFileSync(JENKINS_JOB_XML, "utf8");
  await jenkins.job.create(job, config);
  check((await names(jenkins)).includes(job), "job is missing from the list");
  check(await jenkins.job.exists(job), "job does not exist");
  done("create");

  check((await jenkins.job.config(job)).includes("first version"), "config was not stored");
  await jenkins.job.config(job, config.replace("first version", "zweite Größe ☃"));
  check((await jenkins.job.config(job)).includes("zweite Größe ☃"), "config was not changed");
  done("config");

  const greeting = "hello & grüß ☃";
  const item = await jenkins.job.build({ name: job, parameters: { GREETING: greeting, DURATION: "2s" } });
  check(Number.isInteger(item), `queue item: ${item}`);
  done("build");
  const number = await follow(jenkins, item);
  const info = await jenkins.build.get(job, number);
  check(parameters(info).GREETING === greeting, `parameters: ${JSON.stringify(info.actions)}`);
  done("queue");

  const chunks = await consoleOf(jenkins, job, number);
  check(chunks.length > 1, "the console came in one piece");
  const text = chunks.join("");
  check(text.trimEnd().endsWith("Finished: SUCCESS"), `console ends with ${JSON.stringify(text.slice(-80))}`);
  check(text === (await jenkins.build.log(job, number)), "chunks differ from the whole");
  const ended = await jenkins.build.get(job, number);
  check(ended.result === "SUCCESS" && !ended.building, `build: ${JSON.stringify(ended)}`);
  done("console");

  const long = await follow(jenkins, await jenkins.job.build({ name: job, parameters: { GREETING: "x", DURATION: "1h" } }));
  check((await jenkins.build.get(job, long)).building, "the long build is over at once");
  await jenkins.build.stop(job, long);
  await wait(async () => !(await jenkins.build.get(job, long)).building, "the end of the build");
  const { result } = await jenkins.build.get(job, long);
  check(result === "ABORTED", `result of the stopped build: ${result}`);
  done("stop");

  await jenkins.job.destroy(job);
  check(!(await jenkins.job.exists(job)), "job is still there");
  check(!(await names(jenkins)).includes(job), "job is still in the list");
  done("delete");
}

async function names(jenkins) {
  return (await jenkins.job.list()).map((j) => j.name);
}

// follow returns the number of the build that a queue item became.
async function follow(jenkins, item) {
  const executable = await wait(async () => (await jenkins.queue.item(item)).executable, `queue item ${item} to start`);
  return executable.number;
}

// consoleOf reads a console to its end and returns its non-empty pieces.
function consoleOf(jenkins, job, number) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    const log = jenkins.build.logStream({ name: job, number, delay: 50 });
    const timer = setTimeout(() => log.emit("error", new Error("the console does not end")), deadline - Date.now());
    log.on("data", (text) => text && chunks.push(text));
    log.on("error", reject);
    log.on("end", () => {
      clearTimeout(timer);
      resolve(chunks);
    });
  });
}

function parameters(info) {
  return Object.fromEntries(info.actions.flatMap((a) => a.parameters ?? []).map((p) => [p.name, p.value]));
}

async function wait(ready, what) {
  for (;;) {
    const value = await ready();
    if (value) return value;
    check(Date.now() < deadline, `waited in vain for ${what}`);
    await sleep(50);
  }
}

function check(ok, message) {
  if (!ok) throw new Error(`FAIL: ${message}`);
}

function done(step) {
  console.log("done:", step);
}

main().catch((err) => {
  console.error(err.stack); // err itself would print the whole request
  process.exit(1);
});
