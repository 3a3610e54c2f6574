import pytest
from credentials import make_key

from gateway.key_ring import CACHE_SECONDS, KeyRing, StaticKeys
from shared.api_key import digest_of
from shared.quota import Quota
from shared.settings import SettingsError

QUOTA = Quota(sockets=5)
SECRET = "correct-horse-battery"


class Counted:
    """Access that counts look-ups."""

    def __init__(self, inner):
        self.inner, self.asked = inner, 0
        self.meanwhile = None

    async def key(self, key_id):
        self.asked += 1
        record = await self.inner.key(key_id)
        if self.meanwhile is not None:
            self.meanwhile()
        return record


@pytest.fixture
async def ring(access):
    made = KeyRing(
        Counted(access),
        StaticKeys((), None, QUOTA),
        QUOTA,
        clock=lambda: made.monotonic,
        wall=lambda: made.unix,
    )
    return made


@pytest.fixture(autouse=True)
def _no_slots(monkeypatch):
    monkeypatch.setattr(KeyRing, "monotonic", 0.0, raising=False)
    monkeypatch.setattr(KeyRing, "unix", 1000.0, raising=False)


async def test_a_look_up_is_remembered_for_a_while(ring, access):
    key = await make_key(access, "alice")
    for _ in range(3):
        assert (await ring.find(key.text)).name == "alice"
    assert ring._access.asked == 1
    KeyRing.monotonic = CACHE_SECONDS
    await ring.find(key.text)
    assert ring._access.asked == 2


async def test_a_mistyped_key_costs_no_look_up(ring, access):
    key = await make_key(access, "alice")
    swapped = key.text[:-2] + key.text[-1] + key.text[-2]
    assert swapped == key.text or await ring.find(swapped) is None
    assert await ring.find(key.text[:-1]) is None
    assert ring._access.asked == 0


async def test_another_secret_behind_a_known_id_is_refused(ring, access):
    key, other = await make_key(access, "alice"), await make_key(access, "bob")
    await access.add_key((await access.key(key.id)).__class__(key.id, "alice", other.digest, 1))
    assert await ring.find(key.text) is None


async def test_a_revoked_key_is_refused_as_soon_as_that_is_heard(ring, access):
    key = await make_key(access, "alice")
    assert await ring.find(key.text)
    await access.revoke_key(key.id)
    assert await ring.find(key.text), "nobody has heard of it yet"
    ring.forget(key.id)
    assert await ring.find(key.text) is None


async def test_a_look_up_that_a_revocation_overtakes_is_not_remembered(ring, access):
    key = await make_key(access, "alice")
    await ring.find(key.text)
    ring.forget(key.id)
    ring._access.meanwhile = lambda: ring.forget(key.id)
    await ring.find(key.text)
    ring._access.meanwhile = None
    await access.revoke_key(key.id)
    assert await ring.find(key.text) is None


async def test_the_recheck_asks_the_store_and_not_the_memory(ring, access):
    key = await make_key(access, "alice")
    await ring.find(key.text)
    assert await ring.still(key.id)
    await access.revoke_key(key.id)
    assert not await ring.still(key.id)


async def test_a_key_ends_at_its_expiry(ring, access):
    key = await make_key(access, "alice", expires=1001)
    assert (await ring.find(key.text)).expires == 1001
    KeyRing.unix = 1001.0
    assert await ring.find(key.text) is None
    assert not await ring.still(key.id)


async def test_a_key_may_have_bounds_of_its_own(ring, access):
    key = await make_key(access, "alice", quota=Quota(responses=1))
    assert (await ring.find(key.text)).quota == Quota(responses=1)
    assert (await ring.find((await make_key(access, "bob")).text)).quota == QUOTA


def static(tmp_path, *lines):
    file = tmp_path / "keys"
    file.write_text("\n".join(lines))
    return file


def test_keys_of_the_settings_are_given_in_clear_or_as_a_digest(tmp_path):
    file = static(tmp_path, "# ours", "", f"carol:sha256:{digest_of(SECRET)}")
    keys = StaticKeys(["bob:" + "k" * 20], file, QUOTA)
    assert keys.find("k" * 20).name == "bob"
    assert keys.find(SECRET).name == "carol"
    assert keys.find(SECRET + "x") is None
    assert keys.find(f"sha256:{digest_of(SECRET)}") is None


def test_a_changed_file_is_read_again_and_who_is_not_in_it_is_out(tmp_path):
    file = static(tmp_path, f"carol:{SECRET}")
    keys = StaticKeys((), file, QUOTA)
    carol = keys.find(SECRET)
    assert keys.still(carol.credential_id)
    file.write_text(f"dave:{SECRET}-2\n")
    keys.refresh()
    assert keys.find(SECRET) is None
    assert not keys.still(carol.credential_id)
    assert keys.find(f"{SECRET}-2").name == "dave"


def test_a_file_that_went_away_is_a_problem_and_the_last_keys_stay(tmp_path):
    file = static(tmp_path, f"carol:{SECRET}")
    keys = StaticKeys((), file, QUOTA)
    file.unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        keys.refresh()
    assert keys.find(SECRET).name == "carol"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (f":{SECRET}", "name"),
        (f"a b:{SECRET}", "name"),
        ("alice:short", "shorter"),
        ("alice", "shorter"),
        ("alice:tw_0123456789_" + "x" * 38, "checksum"),
    ],
)
def test_a_bad_entry_is_refused_by_its_number_and_never_shown(entry, problem):
    with pytest.raises(SettingsError, match=rf"API_KEYS entry 2 .*{problem}") as caught:
        StaticKeys(["bob:" + "k" * 20, entry], None, QUOTA)
    assert entry not in str(caught.value)
