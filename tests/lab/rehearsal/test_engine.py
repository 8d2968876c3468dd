"""The engine takes each resource to where the program wants it, in order, and says what it did."""

from __future__ import annotations

import json

import pytest

from tests.lab.rehearsal.program import FRANK, Program

CHAIN = 'a = File("a", 1)\nb = File("b", a.made)\n'


def test_what_is_declared_is_made_once_in_order_and_then_left_alone(program: Program) -> None:
    first = program.up(CHAIN)
    assert first.operations() == [("create", "a"), ("create", "b")]
    assert program.world() == {"a": 1, "b": "made a"}
    assert program.must("preview", "--expect-no-changes").operations() == []
    assert program.must("up", "--yes").operations() == []


def test_the_first_line_of_each_run_says_what_this_engine_is(program: Program) -> None:
    program.write(CHAIN)
    for words in (["preview"], ["up", "--yes"], ["refresh"], ["stack", "output"], ["destroy", "--yes"]):
        run = program.run(*words)
        said = run.text.removeprefix(run.out) if words[0] == "stack" else run.out  # what is piped stays JSON
        assert said.startswith(FRANK)


def test_a_preview_says_what_would_be_done_and_does_nothing(program: Program) -> None:
    program.write(CHAIN)
    run = program.must("preview", "--diff")
    assert run.operations() == [("create", "a"), ("create", "b")]
    assert "value: [unknown]" in run.text
    assert program.world() == {}
    assert not program.state_file.exists()


def test_changes_where_none_are_expected_fail_the_preview(program: Program) -> None:
    program.write(CHAIN)
    run = program.run("preview", "--expect-no-changes")
    assert run.code
    assert "no changes were expected for preview but changes were proposed" in run.text


def test_a_changed_input_is_shown_in_words_and_updates_in_place(program: Program) -> None:
    program.up('File("a", {"port": 443, "text": "x: 1\\ny: 2\\n"})')
    program.write('File("a", {"port": 8443, "text": "x: 1\\ny: 3\\n"})')
    shown = program.must("preview", "--diff")
    assert "~ port: 443 => 8443" in shown.text
    assert "~ y: 2 => 3" in shown.text
    assert program.must("up", "--yes").operations() == [("update", "a")]
    assert program.world()["a"]["port"] == 8443


@pytest.mark.parametrize("command", ["preview", "up"])
def test_a_replacement_is_made_before_its_users_change_and_the_old_one_goes_last(
    program: Program, command: str
) -> None:
    program.up('a = File("a", 1)\nFile("b", a.id)')
    program.write('a = File("a", 1, file="a2")\nFile("b", a.id)')
    run = program.must(command)
    assert run.operations() == [
        ("create-replacement", "a"),
        ("replace", "a"),
        ("update", "b"),
        ("delete-replaced", "a"),
    ]
    assert next(event["keys"] for event in run.events if event["op"] == "replace") == ["file"]
    if command == "up":
        assert program.world() == {"a2": 1, "b": "a2"}


@pytest.mark.parametrize(
    ("by_provider", "by_option"), [(True, None), (False, True)], ids=["provider asks", "option asks"]
)
def test_what_must_go_first_is_deleted_before_it_is_replaced(
    program: Program, by_provider: bool, by_option: bool | None
) -> None:
    declared = f"first={by_provider}, opts=pulumi.ResourceOptions(delete_before_replace={by_option})"
    program.up(f'File("a", 1, {declared})')
    run = program.up(f'File("a", 1, file="a2", {declared})')
    assert run.operations() == [("delete-replaced", "a"), ("replace", "a"), ("create-replacement", "a")]


def test_the_option_has_the_last_word_on_what_is_deleted_first(program: Program) -> None:
    declared = "first=True, opts=pulumi.ResourceOptions(delete_before_replace=False)"
    program.up(f'File("a", 1, {declared})')
    run = program.up(f'File("a", 1, file="a2", {declared})')
    assert [op for op, _ in run.operations()] == ["create-replacement", "replace", "delete-replaced"]


def test_what_is_no_longer_declared_is_deleted_users_first(program: Program) -> None:
    program.up(CHAIN + 'File("c", b.made)')
    assert program.up('File("a", 1)').operations() == [("delete", "c"), ("delete", "b")]
    assert program.world() == {"a": 1}


def test_destroy_needs_no_program_and_leaves_nothing(program: Program) -> None:
    program.up(CHAIN)
    (program.folder / "__main__.py").unlink()
    assert program.must("destroy", "--yes").operations() == [("delete", "b"), ("delete", "a")]
    assert program.world() == {}
    assert json.loads(program.state_file.read_text())["resources"] == []


def test_a_failed_step_is_told_in_full_what_needs_it_waits_and_the_rest_is_done(program: Program) -> None:
    program.write('a = File("a", 1, broken="this one")\nFile("b", a.made)\nFile("c", 3)')
    run = program.run("up", "--yes")
    assert run.code
    assert "ValueError: this one can't be made" in run.text
    assert program.world() == {"c": 3}
    assert program.up('a = File("a", 1)\nFile("b", a.made)\nFile("c", 3)').operations() == [
        ("create", "a"),
        ("create", "b"),
    ]


def test_nothing_is_deleted_after_a_failure(program: Program) -> None:
    program.up(CHAIN)
    program.write('File("c", 1, broken="this one")')
    assert program.run("up", "--yes").code
    assert program.world() == {"a": 1, "b": "made a"}


def test_every_input_that_cannot_be_used_is_told_and_nothing_is_done(program: Program) -> None:
    program.write('File("ok", 1)\nFile("a", 7, wrong=["left", "right"])')
    run = program.run("up", "--yes")
    assert run.code
    where = "error: pulumi-python:dynamic:Resource resource 'a': property value value {7} has a problem:"
    assert f"{where} left is wrong" in run.text
    assert f"{where} right is wrong" in run.text
    assert "Traceback" not in run.text
    assert program.world() == {}


def test_an_input_that_is_secret_is_not_shown_where_it_cannot_be_used(program: Program) -> None:
    program.write('File("a", pulumi.Output.secret("hush"), wrong=["it"])')
    run = program.run("preview")
    assert "value {[secret]} has a problem: it is wrong" in run.text
    assert "hush" not in run.text


def test_a_run_error_is_shown_as_it_is_and_an_exception_with_the_programs_own_lines(program: Program) -> None:
    program.write('raise pulumi.RunError("msr.url: missing\\nport: wrong")')
    run = program.run("up", "--yes")
    assert run.code == 1
    assert "error: msr.url: missing\nport: wrong\n" in run.text
    assert "Traceback" not in run.text
    program.write('raise RuntimeError("broken")')
    run = program.run("up", "--yes")
    assert run.code == 1
    assert "Program failed with an unhandled exception" in run.text
    assert "RuntimeError: broken" in run.text
    assert "lab/rehearsal" not in run.text


def test_the_same_resource_twice_is_refused(program: Program) -> None:
    program.write('File("a", 1)\nFile("a", 2)')
    run = program.run("preview")
    assert run.code
    assert "Duplicate resource URN 'urn:pulumi:s::small::pulumi-python:dynamic:Resource::a'" in run.text


COMPONENT = """
class Group(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("my:own:Group", name, {"size": 1})
        File("child", 1, pulumi.ResourceOptions(parent=self))
        self.register_outputs({"told": "yes"})
Group("g")
"""


def test_urns_parents_dependencies_and_outputs_are_in_the_state_as_pulumi_has_them(program: Program) -> None:
    program.up(COMPONENT + 'a = File("a", 1)\nFile("b", a.made)\npulumi.export("told", a.made)')
    found = json.loads(program.must("stack", "export").out)
    resources = {item["urn"]: item for item in found["deployment"]["resources"]}
    root = "urn:pulumi:s::small::"
    child = resources[f"{root}my:own:Group$pulumi-python:dynamic:Resource::child"]
    assert child["parent"] == f"{root}my:own:Group::g"
    assert resources[child["parent"]]["outputs"] == {"told": "yes"}
    assert resources[child["parent"]]["inputs"] == {"size": 1}
    b = resources[f"{root}pulumi-python:dynamic:Resource::b"]
    assert b["dependencies"] == [f"{root}pulumi-python:dynamic:Resource::a"]
    assert b["propertyDependencies"]["value"] == b["dependencies"]
    assert resources[f"{root}pulumi:pulumi:Stack::small-s"]["outputs"] == {"told": "made a"}


def test_what_somebody_removed_or_changed_is_seen_by_refresh_and_mended(program: Program) -> None:
    program.up(CHAIN)
    (program.folder / "world" / "a").unlink()
    (program.folder / "world" / "b").write_text('"by hand"')
    assert program.must("preview", "--expect-no-changes").operations() == []
    assert program.must("preview", "--refresh").operations() == [("create", "a"), ("update", "b")]
    assert program.must("up", "--refresh", "--yes").operations() == [("create", "a"), ("update", "b")]
    assert program.world() == {"a": 1, "b": "made a"}


def test_refresh_notes_what_is_there_and_changes_nothing(program: Program) -> None:
    program.up(CHAIN)
    (program.folder / "world" / "b").write_text('"by hand"')
    run = program.must("refresh", "--yes")
    assert {event["name"]: event["result"] for event in run.events if event["type"].endswith("Resource")} == {
        "a": "same",
        "b": "update",
    }
    assert program.world() == {"a": 1, "b": "by hand"}
    assert program.must("preview").operations() == [("update", "b")]


def test_a_destroy_that_looks_first_does_not_stumble_over_what_is_gone(program: Program) -> None:
    program.up(CHAIN)
    (program.folder / "world" / "b").unlink()
    assert program.must("destroy", "--refresh", "--yes").operations() == [("delete", "a")]
    assert program.world() == {}


HOOK = """
def look(args):
    raise ValueError(f"{args.name} with {args.new_inputs['value']} is not wanted")
hooks = pulumi.ResourceHookBinding(before_create=[
    pulumi.ResourceHook("guard", look, pulumi.ResourceHookOptions(on_dry_run=DRY))
])
File("a", 5, pulumi.ResourceOptions(hooks=hooks))
"""


@pytest.mark.parametrize("dry", [True, False])
def test_a_hook_that_fails_stops_its_step_in_its_own_words(program: Program, dry: bool) -> None:
    program.write(HOOK.replace("DRY", str(dry)))
    assert bool(program.run("preview").code) is dry
    run = program.run("up", "--yes")
    assert run.code
    assert 'error: before hook "guard" failed: a with 5.0 is not wanted\n' in run.text
    assert program.world() == {}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('File("a", 1, pulumi.ResourceOptions(protect=True))', "option protect"),
        ('File("a", 1, pulumi.ResourceOptions(ignore_changes=["value"]))', "option ignoreChanges"),
        ('File("a", 1, pulumi.ResourceOptions(retain_on_delete=True))', "option retainOnDelete"),
        ('pulumi.CustomResource("aws:s3:Bucket", "a", {})', "default provider of aws"),
        ('pulumi.CustomResource("aws:s3:Bucket", "a", {}, pulumi.ResourceOptions(import_="x"))', "option importId"),
        ('pulumi.runtime.invoke("aws:index:getCallerIdentity", {})', "aws:index:getCallerIdentity"),
        ('File("a", pulumi.StringAsset("x"))', "assets"),
        ('import pulumi_tls\npulumi_tls.PrivateKey("k", algorithm="DSA")', "default provider of tls"),
    ],
)
def test_what_is_not_implemented_is_an_error_that_names_it(program: Program, body: str, named: str) -> None:
    program.write(body)
    run = program.run("up", "--yes")
    assert run.code
    assert named in run.text
    assert "not implemented by the rehearsal engine" in run.text


def test_a_swarm_that_is_not_a_labs_is_refused_before_anything_is_done(program: Program) -> None:
    program.write('import pulumi_docker\nFile("a", 1)\npulumi_docker.Provider("d", host="unix:///var/run/docker.sock")')
    run = program.run("up", "--yes")
    assert run.code
    assert "docker provider d: found unix:///var/run/docker.sock, allowed is a lab's docker host" in run.text
    assert program.world() == {}


def test_a_config_that_names_another_swarm_is_refused(program: Program) -> None:
    program.write('File("a", 1)')
    (program.folder / "Pulumi.s.yaml").write_text("config:\n  small:swarm: {host: 'tcp://manager:2376'}\n")
    run = program.run("up", "--yes")
    assert run.code
    assert "small:swarm: found tcp://manager:2376, allowed is a lab's docker host" in run.text
