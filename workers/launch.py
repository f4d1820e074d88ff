# SPDX-License-Identifier: GPL-2.0-only
"""Launching a campaign: what people may ask for, by command, form or API, and what is said to what makes no sense."""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from db.campaigns import NewCampaign, new_campaign
from db.fleets import FleetPlan, Fleets
from fuzzer.program.blend import UnknownProfile, profile_named
from fuzzer.program.rng import SEED_MAX
from fuzzer.reach import reach_of
from fuzzer.schedule.schedulers import STRATEGIES
from fuzzer.search_spec import SearchSpec
from reference_mmu.changelog.semantics import Semantics, UnknownPatch, parse_semantics
from reference_mmu.record import Record

# Compiled, a batch is a second or two, beside which storing it is little, and little is run again when a worker is
# lost; interpreted it is half a minute or, on a slow machine, two, which is still within the time limits.
BATCH_PROGRAMS: Final = 10_000
PROGRAMS_MAX: Final = 10**12
SECONDS_MAX: Final = 10**8
BATCH_PROGRAMS_MAX: Final = 10**6
SLOTS_MAX: Final = 10**5
TASK_SECONDS_MAX: Final = 86_400
MEMORY_MIB_MIN: Final = 16
MEMORY_MIB_MAX: Final = 2**20
_NAME_CHARS_MAX: Final = 200
_SPEC_CHARS_MAX: Final = 4096

# What a description of the API says of these; whether a patch exists and what it requires is found out later.
_SHAPE: Final = {"pattern": r"^(old|new)([+-][a-z0-9-]+)*$"}
_Spec = Annotated[str, msgspec.Meta(min_length=1, max_length=_SPEC_CHARS_MAX, extra_json_schema=_SHAPE)]
_Strategy = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(STRATEGIES)})]
_Profile = Annotated[str, msgspec.Meta(max_length=_SPEC_CHARS_MAX)]


class BadWish(ValueError):
    """No campaign can be made of it; the message is one line that begins with the field's name."""


class Wish(Record, forbid_unknown_fields=True):
    """A campaign as somebody asks for it.  It ends when the first of its budgets is spent, and has at least one."""

    name: Annotated[str, msgspec.Meta(max_length=_NAME_CHARS_MAX)] = ""
    """What people call it; "" for profile and seed."""
    old: _Spec = "old"
    """Semantics to compare from: old, new, old+PATCH, new-PATCH, …"""
    new: _Spec = "new"
    """Semantics to compare to: OLD plus patches."""
    profile: _Profile = ""
    """A profile, or several with shares, mixed*3,arm64; "" for all that reach the patches that differ."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=SEED_MAX)] | None = None
    """Seed of the first program, which the others follow; null for a random one."""
    programs: Annotated[int, msgspec.Meta(ge=1, le=PROGRAMS_MAX)] | None = None
    """Budget of programs."""
    seconds: Annotated[int, msgspec.Meta(ge=1, le=SECONDS_MAX)] | None = None
    """Budget of seconds of running."""
    until_regression: bool = False
    """End at the first finding with verdict regression that is no known hole."""
    batch_programs: Annotated[int, msgspec.Meta(ge=1, le=BATCH_PROGRAMS_MAX)] = BATCH_PROGRAMS
    """Programs per batch, the piece of work that is handed out and stored as a whole."""
    slots_max: Annotated[int, msgspec.Meta(ge=1, le=SLOTS_MAX)] | None = None
    """Batches handed out at a time, at most; null for as many as there are slots."""
    strategies: Annotated[tuple[_Strategy, ...], msgspec.Meta(min_length=1, max_length=len(STRATEGIES))] | None = None
    """Schedulers of the programs, each gets the same share; null for all there are."""
    task_seconds: Annotated[int, msgspec.Meta(ge=1, le=TASK_SECONDS_MAX)] | None = None
    """A task that takes longer fails; null for the limit of the workers."""
    memory_mib: Annotated[int, msgspec.Meta(ge=MEMORY_MIB_MIN, le=MEMORY_MIB_MAX)] | None = None
    """A task that takes so much more memory than its process has when it begins fails; null for no limit."""


def read_wish(body: bytes) -> Wish:
    """A wish from JSON.  Raises BadWish."""
    try:
        return msgspec.json.decode(body, type=Wish)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadWish(_told(error)) from error


def read_form(fields: Mapping[str, str | list[str]]) -> Wish:
    """A wish from the fields of a form, of which an empty one was not filled in; `strategies` is a list.

    Raises BadWish.
    """
    given: dict[str, Any] = {}
    for name, value in fields.items():
        if value.strip() if isinstance(value, str) else value:
            given[name] = value
    try:
        return msgspec.convert(given, type=Wish, strict=False)
    except msgspec.ValidationError as error:
        raise BadWish(_told(error)) from error


class Prepared(NamedTuple):
    """A campaign that can be stored."""

    plan: FleetPlan
    searched: NewCampaign


def prepared(wish: Wish) -> Prepared:
    """The campaign that is wished for; what was left open is filled in.  Raises BadWish."""
    old, new = _semantics("old", wish.old), _semantics("new", wish.new)
    if wish.programs is None and wish.seconds is None and not wish.until_regression:
        raise BadWish("a campaign without end: give a budget of programs or of seconds, or let a regression end it")
    lacking = sorted(old.patches - new.patches)
    if lacking:
        raise BadWish(f"new: it lacks '{lacking[0]}', which old has: NEW is OLD plus patches; swap or change them")
    try:
        profile = profile_named(wish.profile).name if wish.profile else reach_of(old, new).profile
    except UnknownProfile as error:
        raise BadWish(f"profile: {error}") from error
    for strategy in wish.strategies or ():
        if strategy not in STRATEGIES:
            raise BadWish(f"strategies: {strategy!r} is none of {', '.join(STRATEGIES)}")
    if len(wish.name) > _NAME_CHARS_MAX or not wish.name.isprintable():
        raise BadWish(f"name: expected at most {_NAME_CHARS_MAX} printable characters")
    seed = secrets.randbelow(2**31) if wish.seed is None else wish.seed
    search = SearchSpec(
        old=old.spec(),
        new=new.spec(),
        profile=profile,
        seed=seed,
        strategies=tuple(dict.fromkeys(wish.strategies)) if wish.strategies else None,
    )
    searched = new_campaign(
        search,
        name=wish.name or f"{wish.profile or 'all'} --seed {seed}"[:_NAME_CHARS_MAX],
        budget_seconds=None if wish.seconds is None else float(wish.seconds),
        budget_programs=wish.programs,
    )
    plan = FleetPlan(**{name: getattr(wish, name) for name in FleetPlan.__struct_fields__})
    return Prepared(plan, searched)


def launch(fleets: Fleets, wish: Wish, request: str | None = None) -> int:
    """Store the campaign, which workers of this model begin at once, and return its number.

    `request` is what the sender calls this request: the same wish under the same name is one campaign, however often it
    comes.  Raises BadWish and StoreError.
    """
    digest = None
    if request is not None:
        digest = hashlib.sha256(msgspec.json.encode((request, wish))).hexdigest()
    return fleets.create(*prepared(wish), digest)


def _semantics(name: str, spec: str) -> Semantics:
    try:
        return parse_semantics(spec)
    except UnknownPatch as error:
        raise BadWish(f"{name}: {' '.join(str(error).split())}") from error


def _told(error: Exception) -> str:
    """Turn msgspec's "Expected `int` >= 1 - at `$.programs`" into "programs: expected int >= 1"."""
    problem, _, place = " ".join(str(error).split()).partition(" - at `$.")
    words = f"{problem[:1].lower()}{problem[1:]}".replace("`", "")
    return f"{place.rstrip('`')}: {words}" if place else words
