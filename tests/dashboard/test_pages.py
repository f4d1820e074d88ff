# SPDX-License-Identifier: GPL-2.0-only
"""What the pages say, without a browser: they are whole without JavaScript."""

import re
from collections import Counter
from html import unescape
from threading import Event

import msgspec
import pytest

from dashboard.replaying import Job, Replayer
from db.schema import Level
from db.store import Store
from fuzzer.checked import STATES
from fuzzer.judge.finding import BatchResult, FoundFinding, Verdict, signature
from fuzzer.reproducer import encode_reproducer
from reference_mmu.changelog.patches import PATCHES
from tests.dashboard.site import BUG, CAMPAIGN, NOW, Site
from tests.golden import golden

REPRODUCER = encode_reproducer(golden("bug-219588"))
EVERY = [
    "/",
    "/findings",
    f"/findings/1/{BUG}",
    "/campaigns",
    "/campaigns/1",
    "/changelog",
    "/changelog/age-elides-tlb-flush",
    "/holes",
    "/replays",
]


@pytest.mark.parametrize("address", [*EVERY, "/tokens", "/login"])
def test_pages_need_no_inline_script_or_style(shared: Site, address: str) -> None:
    """The policy forbids them, so one that slipped in would be a part that does not work."""
    text = shared.get(address, Level.ADMIN).text
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", text)
    # A link to a commit upstream is followed by who wants to; nothing is loaded from there.
    assert not re.search(r'(?:src|action)="(?:https?:)?//|<link [^>]*href="(?:https?:)?//', text)


@pytest.mark.parametrize("address", EVERY)
def test_pages_are_small(shared: Site, address: str) -> None:
    assert len(shared.get(address).content) < 200_000


def test_a_page_asks_to_sign_in_first(shared: Site) -> None:
    answer = shared.client.get("/findings", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_the_finding_page_tells_the_whole_story_without_javascript(shared: Site) -> None:
    text = unescape(shared.replayed(f"/findings/1/{BUG}"))
    for said in (
        "mmu_lock was released while a writable TLB entry exists for an SPTE that lost MMU_WRITABLE",
        "OLD breaks an invariant, NEW does not, and the attributed commit says that it fixes this.",
        "says it fixes this",
        "read gfn 13 (#1, upgrade fails)",
        "vCPU0 comes to fault.pfn in read gfn 13 (#1, upgrade fails): vCPU1 goes on",
        "reproduced exactly",
        "!! stale-writable-mmuw",
        "SPTE gfn 13: pfn 5 W MMU-W A D -> pfn 5 A",
    ):
        assert said in text, said
    assert text.count('class="first-difference"') == 1


def test_a_consequence_names_what_it_follows_from(shared: Site) -> None:
    finding = golden("consequence-more-pml").finding
    assert finding.after
    text = unescape(shared.get(f"/findings/1/{signature(finding)}").text)
    assert f"it follows from <code>{finding.after}</code>" in text


def test_a_finding_without_a_reproducer_says_so(own: Site) -> None:
    store = Store(own.engine, lambda: NOW)
    campaign = store.create_campaign(CAMPAIGN)
    store.record(BatchResult(campaign, 0, 0, 1, 1, 1.0, 1, (FoundFinding(golden("bug-219588").finding, 1, 0, None),)))
    answer = own.get(f"/findings/{campaign}/{BUG}")
    assert answer.status_code == 200
    assert "this finding has no reproducer" in answer.text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"format": 99}', "reproducer has format 99"),
        (REPRODUCER.replace(b'"leader": "old"', b'"leader": "nobody"'), "corrupt reproducer: Invalid enum value"),
        (REPRODUCER.replace(b'"old": "no-struct-page"', b'"old": "older"'), "unknown semantics 'older'"),
    ],
)
def test_a_finding_whose_file_cannot_be_replayed_says_why(own: Site, body: bytes, said: str) -> None:
    store = Store(own.engine, lambda: NOW)
    campaign = store.create_campaign(CAMPAIGN)
    found = FoundFinding(golden("bug-219588").finding, 1, 0, body)
    store.record(BatchResult(campaign, 0, 0, 1, 1, 1.0, 1, (found,)))
    assert f"Not replayed: {said}" in unescape(own.replayed(f"/findings/{campaign}/{BUG}"))


def test_the_page_does_not_wait_for_the_replay(own: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, run = Event(), Replayer._run

    def slow(replayer: Replayer, job: Job, body: bytes) -> bytes:
        assert go_on.wait(60)
        return run(replayer, job, body)

    monkeypatch.setattr(Replayer, "_run", slow)
    address = f"/findings/1/{BUG}"
    for _ in range(2):
        text = own.get(address).text
        assert "read gfn 13 (#1, upgrade fails)" in text
        assert f'hx-get="{address}" hx-select="#replayed"' in text
        assert f'<a href="{address}#interleaving">Look again</a>' in text
        assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in text
        assert 'id="picture"' not in text
    go_on.set()
    text = own.replayed(address)
    assert 'id="picture"' in text
    assert "hx-get" not in text
    assert "http-equiv" not in text


def test_what_a_database_holds_is_text_and_never_markup(own: Site) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x>"
    finding = msgspec.structs.replace(golden("bug-219588").finding, story=evil, verdict=Verdict.REGRESSION)
    store = Store(own.engine, lambda: NOW)
    campaign = store.create_campaign(msgspec.structs.replace(CAMPAIGN, name=evil))
    store.record(BatchResult(campaign, 0, 0, 1, 1, 1.0, 1, (FoundFinding(finding, 1, 0, None),)))
    for address in ("/", "/findings", f"/findings/{campaign}/{BUG}", f"/campaigns/{campaign}", "/campaigns"):
        text = own.get(address).text
        assert "<img" not in text
        assert "<script>" not in text
        assert "&lt;script&gt;alert(1)" in text
    assert "<img" not in own.get(f"/findings?text={evil}").text


def test_the_list_pages_on(shared: Site) -> None:
    first = shared.get("/findings?limit=5&verdict=documented").text
    following = unescape(re.findall(r'rel="next" href="([^"]+)"', first)[0])
    assert "verdict=documented" in following
    second = shared.get(f"{following}&limit=5").text
    assert "First page" in second
    links = re.compile(r'href="(/findings/1/[^"]+)"')
    assert len(set(links.findall(first)) | set(links.findall(second))) == 7


def test_the_changelog_has_every_commit(shared: Site) -> None:
    text = shared.get("/changelog").text
    assert text.count('<article class="commit"') == 92
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings[:2] == ["no-struct-page: x86", "no-struct-page: common code"]
    assert headings[-1] == "x86-mmu: x86"
    assert text.count("</span> not modelled yet</p>") == sum(not patch.modelled for patch in PATCHES.values())
    assert '<a href="/findings?patch=age-elides-tlb-flush">2 findings</a>' in text


@pytest.mark.parametrize(
    ("by", "headings"),
    [
        ("series", ["no-struct-page", "x86-mmu"]),
        ("architecture", ["x86", "common code", "powerpc", "arm64", "riscv", "loongarch", "mips", "s390"]),
        ("kind", ["semantic", "equivalence", "cost", "series"]),
    ],
)
def test_the_changelog_in_groups(shared: Site, by: str, headings: list[str]) -> None:
    text = shared.get(f"/changelog?by={by}").text
    assert re.findall(r"<h2>(.*?)</h2>", text) == headings
    assert text.count('<article class="commit"') == 92


def test_the_changelog_as_a_whole(shared: Site) -> None:
    """A cell a row, which says more than its colour; the numbers beside it are those of the cells."""
    for by in ("state", "series and architecture"):
        text = unescape(shared.get(f"/changelog?by={by}").text)
        cells = re.findall(
            r'<a class="cell c-([\w-]+)" href="#([\w-]+)" title="([^"]+)" aria-label="[^"]+">(.)</a>', text
        )
        assert sorted(name for _, name, _, _ in cells) == sorted(p.id for p in PATCHES.values() if p.listed)
        assert all(title.startswith(f"{name}: ") for _, name, title, _ in cells)
        assert len({(state, sign) for state, _, _, sign in cells}) == len({state for state, *_ in cells})
        counted = dict(re.findall(r'c-([\w-]+)" aria-hidden.*?</th>.*<td class="number">(\d+)</td></tr>', text))
        assert counted == {state: str(n) for state, n in Counter(state for state, *_ in cells).items()}
    headings = re.findall(r"<h2>(.*?)</h2>", unescape(shared.get("/changelog?by=state").text))
    assert headings == [state for state in STATES if state in headings]


def test_a_commit_shows_its_diff(shared: Site) -> None:
    text = unescape(shared.get("/changelog/age-elides-tlb-flush").text)
    assert '<span class="removed">-' in text
    assert "kvm_flush_remote_tlbs" in text


def test_an_error_is_a_page_too(shared: Site) -> None:
    answer = shared.get("/changelog/nosuch")
    assert answer.status_code == 404
    assert "no patch 'nosuch'" in unescape(answer.text)
    assert "<h1>404</h1>" in answer.text


def test_upload_in_the_browser(own: Site) -> None:
    own.sign_in(Level.OPERATE)
    found = re.search(r'name="csrf" value="(\w+)"', own.client.get("/replays").text)
    assert found is not None
    answer = own.client.post("/replays", data={"csrf": found[1]}, files={"file": b"no reproducer"})
    assert answer.status_code == 200
    assert re.fullmatch(r"http://localhost/replays/[0-9a-f]{32}", str(answer.url))


def test_health_of_the_container(shared: Site) -> None:
    assert shared.client.get("/healthz").text == "ok\n"
