"""Connections that nginx keeps to the dispatcher: while it has none to send, or nobody who reads."""

import time
from pathlib import Path

from answers import result
from gateway import Gateway
from supervision import Tree, eventually, runtime_directory, traced

RESERVE = 16  # threads for /execute beyond cells and places in the queue


def test_a_refusal_keeps_the_connection(service):
    """nginx may send the next request as soon as it has an answer: one that was then closed is 502.

    The body of what is refused by its header is read all the same, whatever its size.
    """
    with traced([Tree(service).dispatcher.pid], "-e", "trace=shutdown",
                "-e", "inject=shutdown:delay_enter=30000"):
        for number in range(40):
            answer = service.request("POST", "/execute", "x" * (100, 20000, 300000)[number % 3],
                                     {"Content-Type": "text/plain"})
            assert answer.status == 415, (number, answer)
            time.sleep(0.001 * (number % 4))


def threads(process):
    return len(list(Path(f"/proc/{process.pid}/task").iterdir()))


def test_ends_of_streams_that_nginx_cannot_pass_on(make_service):
    """They are written, and hold a thread until nginx is rid of them: only so many threads.

    Where there are more the oldest connections are closed, and nothing that was written is lost.
    """
    queue, cells = 4, 1
    service = make_service(workers=1, cells_per_worker=cells, library_sets="base", queue=queue)
    most = queue + cells + RESERVE
    directory = runtime_directory(service.log())
    crowd = [Gateway(directory) for _ in range(4 * most)]
    for number, reader in enumerate(crowd):
        reader.ask(f"def main(): return {number}", "text/event-stream")
        reader.await_answer()
        assert eventually(lambda: service.get("/health").data["workers"]["busy"] == 0, 5, 0.002)
    for _ in range(3):
        begun = time.monotonic()
        assert result(service.execute("def main(): return 'in time'", http_timeout=10)) == "in time"
        assert time.monotonic() - begun < 2
    assert threads(Tree(service).dispatcher) <= 3 * most + 40
    for number, reader in enumerate(crowd):
        assert f'"result": {number}, '.encode() in reader.answer()
    assert [reader.is_closed() for reader in (crowd[0], crowd[-1])] == [True, False]
    crowd[-1].ask("def main(): return 'again'")  # it is kept for the next request as ever
    assert b'"result": "again"' in crowd[-1].answer()
    for reader in crowd:
        reader.close()
