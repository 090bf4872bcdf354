"""`murmur join https://...#ID`: a swarm behind a name, joined as its user would, over TLS on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest
from murmur_command import QUICK, murmur
from named_invites import https_pages
from test_bootstrap import serving

from swarm.wire.invite import Invite

pytestmark = [pytest.mark.e2e, pytest.mark.swarm]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_name_leads_into_its_swarm_and_a_resumed_run_needs_it_no_more(tmp_path: Path) -> None:
    with serving("--run-dir", "hub", cwd=tmp_path) as ready:
        invite = Invite.decode(ready["invite"])
        pages = {"/swarm.txt": ready["invite"].encode()}
        with https_pages(tmp_path, pages) as (address, certificate):
            trust = ["env", f"SSL_CERT_FILE={certificate}", "NO_PROXY=127.0.0.1"]
            unverified = murmur("join", f"{address}/swarm.txt", cwd=tmp_path, prefix=trust)
            assert (
                unverified.returncode == 2 and f"it offers #{invite.manifest.swarm_id}" in unverified.stderr
            )
            name = f"{address}/swarm.txt#{invite.manifest.swarm_id}"
            options = ("--run-dir", "joined", "--rounds", "1", *QUICK)
            joined = murmur("join", name, *options, cwd=tmp_path, prefix=trust)
            assert joined.returncode == 0 and f"joined swarm '{invite.manifest.name}'" in joined.stdout, (
                joined
            )
        again = murmur(
            "join", name, "--run-dir", "joined", "--rounds", "2", "--resume-or-start", cwd=tmp_path
        )
        assert again.returncode == 0 and "the run goes on with the peers that it knows" in again.stderr, again
        nowhere = murmur("join", name, "--run-dir", "new", *QUICK, cwd=tmp_path)
        assert nowhere.returncode == 4 and "cannot be reached" in nowhere.stderr
