"""2,000 lines sent with OpenAI's Python library while workers and the broker die: every line is answered once, counters and usage agree.

The same faults, with a quicker client, are an end-to-end test (tests/e2e/faults.rs); here they are timed. `make prove/faults` runs this.
"""

import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from openai import OpenAI

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "millrace"
LINES = 2000
FLOW_SECONDS_MAX = 30
# Some 15 lines a second and worker, each a second long: slow enough that every fault finds work under way.
PACE = ["--engine", "null", "--null-tokens-per-s", "120", "--slots", "16"]
# More than one worker can hold, and so more than can have been on its way when a fault came.
FLOW_LINES = 24
# A stopped worker that goes on may notice by a heartbeat, before it writes, that it lost its claims: then it is stopped again.
STOPS_MAX = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        millrace = Millrace(Path(name))
        try:
            prove(millrace)
        finally:
            millrace.end()


def prove(millrace: "Millrace") -> None:
    address = millrace.serve()
    client = OpenAI(base_url=f"{address}/v1", api_key=millrace.key(), max_retries=5)

    # The queues are declared when the first worker subscribes: a broker that dies within a second of that wedges them.
    first = millrace.consume("first")
    await_until(lambda: "millrace-nano" in services("rabbitmqctl", "list_queues"), "the queues are declared", every=0.01)
    services("kill", "rabbitmq")
    services("start", "rabbitmq")
    second = millrace.consume("second")

    file = client.files.create(file=("input.jsonl", input_lines()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    recoveries = {}

    def answered() -> int:
        counts = client.batches.retrieve(batch.id).request_counts
        return counts.completed + counts.failed

    def flows_after(fault: str) -> None:
        began, before = time.monotonic(), answered()
        await_until(lambda: answered() >= before + FLOW_LINES, f"work flows after: {fault}")
        recoveries[fault] = round(time.monotonic() - began, 1)

    flows_after("broker killed while declaring")
    await_until(lambda: sql("select count(*) from requests where state = 'running'") > FLOW_LINES, "both workers hold claims")
    first.kill()
    flows_after("worker killed")
    repeated = await_until(lambda: sql("select count(*) from requests where epoch >= 2"), "lost claims are claimed again")

    millrace.consume("third")
    for _ in range(STOPS_MAX):
        second.send_signal(signal.SIGSTOP)
        # Longer than the lease of ten seconds.
        time.sleep(15)
        second.send_signal(signal.SIGCONT)
        flows_after("worker stopped past its lease")
        if fenced := millrace.log("second").count("came too late: fenced"):
            break
    check(fenced > 0, "a write of the stopped worker is fenced")

    services("kill", "rabbitmq")
    services("wipe", "rabbitmq")
    services("start", "rabbitmq")
    flows_after("broker wiped")

    ended = await_until(lambda: done(client.batches.retrieve(batch.id)), "the batch ends", seconds=900, every=1)
    lines = [json.loads(line) for id in (ended.output_file_id, ended.error_file_id) if id for line in client.files.content(id).iter_lines()]
    tokens = {
        "lines": sum(line["response"]["body"]["usage"]["total_tokens"] for line in lines),
        "batch": ended.usage.total_tokens,
        "ledger": sql("select sum(prompt_tokens + completion_tokens) from charges"),
    }
    publish(lines=LINES, rows_with_epoch_2_or_more=repeated, fenced_writes_logged=fenced, seconds_to_flow=recoveries, tokens=tokens)
    check(len(lines) == LINES and len({line["custom_id"] for line in lines}) == LINES, "every line is answered exactly once")
    check((ended.request_counts.completed, ended.request_counts.failed) == (LINES, 0), "the counters agree with a recount")
    check(len(set(tokens.values())) == 1, "usage of the lines = of the batch = of the ledger")
    check(max(recoveries.values()) <= FLOW_SECONDS_MAX, "work flows again within 30 s of each fault")


class Millrace:
    """The processes of one proof, on the servers that `infra/services with` has started."""

    def __init__(self, folder: Path):
        self.folder, self.processes = folder, []
        names = ["DATABASE_URL", "AMQP_URL", "OBJECTS_URL"]
        self.environment = {**os.environ, **{f"MILLRACE_{name}": os.environ[f"MILLRACE_TEST_{name}"] for name in names}}

    def start(self, name: str, *arguments: str) -> subprocess.Popen:
        output, log = (self.folder / f"{name}.out").open("w"), (self.folder / f"{name}.log").open("w")
        self.processes.append(subprocess.Popen([BINARY, *arguments], stdout=output, stderr=log, env=self.environment))
        return self.processes[-1]

    def serve(self) -> str:
        """Starts the producer and gives its address, which it prints first."""
        self.start("produce", "produce", "--listen", "127.0.0.1:0")
        output = self.folder / "produce.out"
        return await_until(output.read_text, "the producer listens").splitlines()[0].removeprefix("listening on ")

    def consume(self, name: str) -> subprocess.Popen:
        return self.start(name, "consume", *PACE)

    def key(self) -> str:
        command = [BINARY, "key", "create", "--tenant", "proof", "--json"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=self.environment).stdout)["key"]

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def services(command: str, *arguments: str) -> str:
    command = [ROOT / "infra" / "services", command, os.environ["MILLRACE_TEST_SERVICES"], *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def sql(query: str) -> int:
    command = ["psql", "-XAt", os.environ["MILLRACE_TEST_DATABASE_URL"], "-c", query]
    return int(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout)


def input_lines() -> bytes:
    source = [json.loads(line) for line in (ROOT / "examples" / "documents.jsonl").open()]
    lines = ({**source[i % len(source)], "custom_id": f"line-{i:04}"} for i in range(LINES))
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def done(batch):
    return batch if batch.status == "completed" else None


def await_until(condition, what: str, seconds: float = 120, every: float = 0.1):
    """The first true value of the condition; the proof ends if it does not come in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(every)
    sys.exit(f"does not hold within {seconds} s: {what}")


def check(holds: bool, claim: str) -> None:
    if not holds:
        sys.exit(f"does not hold: {claim}")
    print(f"holds  {claim}")


def publish(**measured: object) -> None:
    processor = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    record = {
        "command": "make prove/faults",
        "date": datetime.date.today().isoformat(),
        "machine": {"cores": os.cpu_count(), "processor": processor},
        "measured": measured,
        "proof": "faults",
    }
    path = ROOT / "docs" / "figures" / "faults.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(measured, indent=2))


main()
