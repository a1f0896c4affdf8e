"""clients/javascript/vivarium.mjs in a real browser, on a page of another origin than the service's."""

import pytest

from browser import Site, browse
from conftest import TOP
from edge import Nginx, ask, request

CLIENT = TOP / "clients" / "javascript" / "vivarium.mjs"
PAGE = """<!DOCTYPE html><meta charset="utf-8"><img id="figure"><script type="module">
import { Vivarium, VivariumError } from "./vivarium.mjs";

const seen = {};
const client = new Vivarium(SERVICE);

async function caught(promise) {
	const error = await promise.then(() => undefined, (error) => error);
	return error && [error instanceof VivariumError, error.kind, error.status, error.retryAfter ?? null];
}

async function main() {
	const answer = await client.execute(
		"import matplotlib.pyplot as plt\\ndef main(n):\\n    plt.plot([1, 2])\\n" +
		"    open('out', 'wb').write(bytes(range(256)))\\n    return n * 2",
		{ args: [21], outputs: ["out"], requestId: "from-a-page" });
	seen.value = [answer.result, answer.requestId, answer.files.get("out").length];
	const image = document.getElementById("figure");
	image.src = answer.figures[0].dataUrl;
	await image.decode();
	seen.figure = image.naturalWidth > 100;
	seen.error = await caught(client.execute("def main(): 1 / 0"));
	seen.time = await caught(client.execute("while True: pass", { timeout: 0.2 }));
	seen.stream = [];
	for await (const event of client.stream("def main():\\n    print('hi')\\n    return 1"))
		seen.stream.push(event.name, event.text ?? event.answer.result);
	for await (const event of client.stream("import time\\nprint('up')\\ntime.sleep(30)")) {
		seen.left = event.text;
		break;
	}
	while ((await client.health()).workers.busy)
		await new Promise((resolve) => setTimeout(resolve, 20));
	seen.ended = true;
	seen.limited = await caught(new Vivarium(LIMITED, { retries: 0 }).execute("x"));
	seen.refused = await caught(new Vivarium("http://127.0.0.1:1").execute("x"));
}

main().catch((error) => (seen.failed = String(error))).finally(() =>
	fetch("/report", { method: "POST", body: JSON.stringify(seen) }));
</script>"""


@pytest.fixture
def site():
    """The origin of the page, with the client beside that."""
    one = Site()
    one.pages["/vivarium.mjs"] = ("text/javascript", CLIENT.read_text())
    yield one
    one.close()


def test_client_in_a_browser(site, make_service, tmp_path):
    """Values, figures, errors, streams, what can be read of a limit; and leaving ends the script."""
    service = make_service(cors_origins=site.origin, workers=1)
    limited = Nginx(cors_origins=site.origin, rate_limit="1/m", rate_limit_burst=0)
    ask(limited, request(b"GET /"))  # that was it, for a minute
    page = PAGE
    for name, instance in (("SERVICE", service), ("LIMITED", limited)):
        page = page.replace(name, f'"http://127.0.0.1:{instance.port}"')
    site.pages["/"] = ("text/html", page)
    browser = browse(site.origin + "/", tmp_path / "profile")
    try:
        seen = site.reports.get(timeout=60)
    finally:
        browser.terminate()
        browser.wait(timeout=20)
        limited.close()
    retry_after = seen["limited"].pop()
    assert retry_after >= 1
    assert seen == {
        "value": [42, "from-a-page", 256], "figure": True,
        "error": [True, "exception", 400, None], "time": [True, "time", 408, None],
        "stream": ["stdout", "hi\n", "result", 1], "left": "up\n", "ended": True,
        "limited": [True, "rate_limited", 429], "refused": [True, "transport", 0, None]}
