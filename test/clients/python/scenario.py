"""The scenario of ../README.md with python-jenkins.

python-jenkins fetches a crumb before its first request, once per object,
sends it with every request and never fetches another one. It keeps cookies
and follows the 302 after a POST with a GET.
"""

import os
import time

import jenkins
import requests

DEADLINE = time.monotonic() + 50


def main():
    job = os.environ["JENKINS_JOB"]
    user = os.environ["JENKINS_USER"]
    if os.environ.get("JENKINS_BEARER"):
        # The library has no Bearer of its own, but adds the lines of
        # JENKINS_API_EXTRA_HEADERS to every request.
        server = jenkins.Jenkins(os.environ["JENKINS_URL"], timeout=20)
    else:
        server = jenkins.Jenkins(
            os.environ["JENKINS_URL"], user, os.environ["JENKINS_TOKEN"], timeout=20
        )

    me = server.get_whoami()
    check(me["id"] == user, "whoami: %r" % me)
    check(server.get_version(), "no X-Jenkins header")
    done("whoami")

    check(job not in names(server), "job is there before it was made")
    done("list")

    with open(os.environ["JENKINS_JOB_XML"], encoding="utf-8") as f:
        config = f.read()
    server.create_job(job, config)
    check(job in names(server), "job is missing from the list")
    done("create")

    check("first version" in server.get_job_config(job), "config was not stored")
    server.reconfig_job(job, config.replace("first version", "zweite Größe ☃"))
    check("zweite Größe ☃" in server.get_job_config(job), "config was not changed")
    done("config")

    greeting = "hello & grüß ☃"
    item = server.build_job(job, {"GREETING": greeting, "DURATION": "2s"})
    done("build")
    number = follow(server, item)
    info = server.get_build_info(job, number)
    check(parameters(info).get("GREETING") == greeting, "parameters: %r" % info["actions"])
    done("queue")

    text, chunks = console(server, job, number)
    check(chunks > 1, "the console came in one piece")
    check(text == server.get_build_console_output(job, number), "chunks differ from the whole")
    check(text.rstrip().endswith("Finished: SUCCESS"), "console ends with %r" % text[-80:])
    info = server.get_build_info(job, number)
    check(info["result"] == "SUCCESS" and not info["building"], "build: %r" % info)
    done("console")

    number = follow(server, server.build_job(job, {"GREETING": "x", "DURATION": "1h"}))
    check(server.get_build_info(job, number)["building"], "the long build is over at once")
    server.stop_build(job, number)
    wait(lambda: not server.get_build_info(job, number)["building"], "the end of the build")
    result = server.get_build_info(job, number)["result"]
    check(result == "ABORTED", "result of the stopped build: %r" % result)
    done("stop")

    server.delete_job(job)
    check(not server.job_exists(job), "job is still there")
    check(job not in names(server), "job is still in the list")
    done("delete")


def names(server):
    return [j["name"] for j in server.get_jobs()]


def follow(server, item):
    """Returns the number of the build that a queue item became."""

    def executable():
        return server.get_queue_item(item).get("executable")

    return wait(executable, "queue item %d to start" % item)["number"]


def console(server, job, number):
    """Reads a console to its end; returns it and the number of non-empty pieces.

    python-jenkins has no call for progressiveText; jenkins_request is its
    public way to whatever it has no call for.
    """
    text, chunks, start = b"", 0, 0
    while True:
        check(time.monotonic() < DEADLINE, "the console does not end")
        url = "%sjob/%s/%d/logText/progressiveText?start=%d" % (server.server, job, number, start)
        answer = server.jenkins_request(requests.Request("GET", url))
        if answer.content:
            chunks += 1
            text += answer.content
        start = int(answer.headers["X-Text-Size"])
        check(start == len(text), "X-Text-Size %d after %d bytes" % (start, len(text)))
        if answer.headers.get("X-More-Data") != "true":
            return text.decode("utf-8"), chunks
        time.sleep(0.05)


def parameters(info):
    return {p["name"]: p["value"] for a in info["actions"] for p in a.get("parameters", [])}


def wait(ready, what):
    while not (value := ready()):
        check(time.monotonic() < DEADLINE, "waited in vain for " + what)
        time.sleep(0.05)
    return value


def check(ok, message):
    if not ok:
        raise SystemExit("FAIL: " + message)


def done(step):
    print("done:", step, flush=True)


main()
