"""Names that drift apart, and calls that the library forbids itself: a static check.

    python tests/naming.py

reads the sources below `ROOTS` without importing them, prints what it finds and ends
with 1 if anything has to be mended. Several authors write several families; what keeps
them one library is that the same thing has the same name everywhere. The tables below
are the rules; a new synonym is forbidden by adding a word to one of them.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
ROOTS = ("neuromod", "kernels", "datasets")
WARN_LINES, MAXIMUM_LINES = 400, 600

# The one name for a thing -> what others might call it.
SYNONYMS = {
    "axes": ["axs"],
    "ax": ["axis_handle", "axes_handle"],
    "bin_size": ["bin_width", "binwidth", "binsize", "delta_t"],
    "config": ["cfg", "conf"],
    "index": ["idx", "ind"],
    "key": ["prng_key", "random_key", "rng", "rng_key"],
    "learning_rate": ["lr", "step_size"],
    "log_likelihood": ["ll", "log_lik", "loglik", "loglike"],
    "max_iterations": ["iterations", "max_iter", "max_iters", "maxiter", "n_iter"],
    "n_folds": ["n_splits", "cv"],
    "n_neurons": ["neurons_count"],
    "n_restarts": ["n_init", "n_inits", "n_starts", "restarts"],
    "n_states": ["k", "n_hidden_states", "n_state", "states_count"],
    "n_steps": ["n_timesteps", "n_time_steps", "nsteps", "steps"],
    "observations": ["obs"],
    "parameters": ["params", "pars"],
    "path": ["file", "file_name", "file_path", "filename", "filepath", "fname"],
    "seed": ["random_seed", "random_state"],
    "tolerance": ["tol", "tols"],
    "transition_matrix": [
        "a_matrix",
        "trans_mat",
        "transition_probabilities",
        "transition_probs",
        "transitions",
    ],
}
# A pattern in any public name -> how it is spelt here.
SPELLINGS = {
    r"(^|_)(num|nb|nr)_|number_of": "n_...",
    r"center": "centre",
    r"behavior": "behaviour",
    r"(?<!s)(?<!pr)ize(d|r|s)?(_|$)|ization|izing": "-ise, -isation",
    r"neighbor": "neighbour",
    r"hemodynamic": "haemodynamic",
    r"labeled|modeled": "labelled, modelled",
}
# Names as near as a slip of the pen that do mean two things, and which.
DISTINCT: dict[frozenset[str], str] = {
    frozenset(
        {"preference", "reference"}
    ): "of a pair of neurons; what is compared with",
}
FORBIDDEN_CALLS = {
    "eval": "parse the text instead",
    "exec": "write the code out",
    "jax.config.update": "use jax.enable_x64(True) as a context inside the verb",
    "os.system": "use subprocess.run with a list",
}
FORBIDDEN_IMPORTS = ("dill", "joblib", "marshal", "pickle", "shelve")
# Where functions are handed to processes that the library itself started.
TRANSPORT = ("neuromod/core/cohort.py", "neuromod/core/worker.py")


class Problem(NamedTuple):
    """Something to mend, and where."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


class Name(NamedTuple):
    """A public name (a parameter, a field, a function, a class) and where it is."""

    kind: str
    name: str
    path: str
    line: int


def sources(repository: Path = REPOSITORY) -> dict[str, str]:
    """Read every module under the three roots, each file once (links not followed)."""
    files = (p for root in ROOTS for p in sorted((repository / root).rglob("*.py")))
    return {
        path.relative_to(repository).as_posix(): path.read_text(encoding="utf-8")
        for path in files
    }


def public_names(path: str, tree: ast.AST) -> Iterator[Name]:
    """Yield the names that a user of the module types or reads."""
    for node in getattr(tree, "body", []):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield Name("class", node.name, path, node.lineno)
            yield from public_names(path, node)
        elif isinstance(node, ast.FunctionDef) and _is_public(node.name):
            yield Name("function", node.name, path, node.lineno)
            # What a command's options are called is decided by the shell's user.
            if not path.startswith("neuromod/cli/"):
                yield from _parameters(path, node)
        elif isinstance(node, ast.AnnAssign) and isinstance(tree, ast.ClassDef):
            if isinstance(node.target, ast.Name) and _is_public(node.target.id):
                yield Name("parameter", node.target.id, path, node.lineno)


def _is_public(name: str) -> bool:
    return not name.startswith("_") or name in ("__init__", "__call__")


def _parameters(path: str, node: ast.FunctionDef) -> Iterator[Name]:
    arguments = node.args
    every = arguments.posonlyargs + arguments.args + arguments.kwonlyargs
    for argument in every:
        if argument.arg not in ("self", "cls") and not argument.arg.startswith("_"):
            yield Name("parameter", argument.arg, path, argument.lineno)


def check_spelling(names: Iterable[Name]) -> Iterator[Problem]:
    """Find synonyms of agreed names, and other spellings."""
    agreed = {word: name for name, words in SYNONYMS.items() for word in words}
    for kind, name, path, line in names:
        if kind == "parameter" and name in agreed:
            text = f"parameter {name!r} is called {agreed[name]!r} here"
            yield Problem(path, line, text)
        for pattern, spelling in SPELLINGS.items():
            if re.search(pattern, name):
                text = f"{kind} {name!r} is spelt {spelling} here"
                yield Problem(path, line, text)


def check_near_duplicates(names: Iterable[Name]) -> Iterator[Problem]:
    """Find parameters that differ by an underscore or a slip of the pen."""
    places: dict[str, list[Name]] = defaultdict(list)
    for name in names:
        if name.kind == "parameter":
            places[name.name].append(name)
    for one, other in combinations(sorted(places), 2):
        if _near(one, other) and frozenset({one, other}) not in DISTINCT:
            rarer, usual = sorted((one, other), key=lambda n: len(places[n]))
            where = places[rarer][0]
            text = (
                f"parameter {rarer!r} is nearly {usual!r} "
                f"({places[usual][0].path}:{places[usual][0].line}): use one name, or "
                "say in DISTINCT what the two mean"
            )
            yield Problem(where.path, where.line, text)


def _near(one: str, other: str) -> bool:
    if one.replace("_", "") == other.replace("_", ""):
        return True
    if {one, other} in ({one, f"{one}s"}, {other, f"{other}s"}):
        return False  # one and several
    if min(len(one), len(other)) < 8 or abs(len(one) - len(other)) > 1:
        return False
    matcher = SequenceMatcher(None, one, other)
    return matcher.quick_ratio() > 0.93 and matcher.ratio() > 0.93


def check_dimensions(path: str, tree: ast.AST, known: set[str]) -> Iterator[Problem]:
    """Find dimension names in literals that are not in the vocabulary."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        literals = [k.value for k in node.keywords if k.arg in ("dim", "dims")]
        if _called(node).split(".")[-1] in ("Dataset", "assign", "assign_coords"):
            inside = (e for e in ast.walk(node) if isinstance(e, ast.Tuple))
            literals += [e.elts[0] for e in inside if _is_labelled(e)]
        for name in (n for literal in literals for n in _strings(literal)):
            if name not in known:
                text = f"dimension {name!r} is not in neuromod.core.dimensions"
                yield Problem(path, node.lineno, text)


def _is_labelled(node: ast.Tuple) -> bool:
    """Tell whether it is (("time", "neuron"), values), as a Dataset takes it."""
    return len(node.elts) in (2, 3) and isinstance(node.elts[0], ast.Tuple | ast.List)


def _strings(node: ast.AST) -> list[str]:
    elements = node.elts if isinstance(node, ast.Tuple | ast.List) else [node]
    constants = [e.value for e in elements if isinstance(e, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


def vocabulary(source: str) -> set[str]:
    """Read the names in `DIMENSIONS` from the source of neuromod.core.dimensions."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "DIMENSIONS":
            assert node.value is not None
            return set(ast.literal_eval(node.value))
    raise LookupError("neuromod.core.dimensions has no DIMENSIONS")


def check_face(path: str, tree: ast.Module) -> Iterator[Problem]:
    """Find an ``__init__.py`` that binds public names without a literal ``__all__``."""
    if not path.endswith("__init__.py"):
        return
    bound = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname and not alias.asname.startswith("_")
    }
    listed = _literal_all(tree)
    if listed is None and bound:
        yield Problem(path, 1, "no literal `__all__`: list the public names")
    elif listed is not None and bound - listed:
        missing = ", ".join(sorted(bound - listed))
        yield Problem(path, 1, f"re-exported, but not in `__all__`: {missing}")


def _literal_all(tree: ast.Module) -> set[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            try:
                return set(ast.literal_eval(node.value))
            except ValueError:
                return None
    return None


def check_safety(path: str, tree: ast.AST) -> Iterator[Problem]:
    """Find pickles, code made from text and settings changed behind a user's back."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if (called := _called(node)) in FORBIDDEN_CALLS:
                text = f"{called}() is forbidden: {FORBIDDEN_CALLS[called]}"
                yield Problem(path, node.lineno, text)
            for keyword in node.keywords:
                if (keyword.arg, ast.unparse(keyword.value)) in (
                    ("allow_pickle", "True"),
                    ("shell", "True"),
                ):
                    text = f"{keyword.arg}=True is forbidden: a file could run code"
                    yield Problem(path, node.lineno, text)
        for module in _imported(node):
            forbidden = module.split(".")[0] in FORBIDDEN_IMPORTS
            if forbidden and path not in TRANSPORT:
                text = f"{module} is forbidden: a file could run code"
                yield Problem(path, getattr(node, "lineno", 1), text)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def check_lengths(modules: dict[str, str], limit: int) -> Iterator[Problem]:
    """Find modules that tell more than one story."""
    for path, source in modules.items():
        if (lines := source.count("\n")) > limit:
            yield Problem(path, lines, f"{lines} lines, more than {limit}: split it")


def check(modules: dict[str, str], known_dimensions: set[str]) -> list[Problem]:
    """Apply every rule to sources given by their path."""
    trees = {path: ast.parse(source) for path, source in modules.items()}
    names = [n for path, tree in trees.items() for n in public_names(path, tree)]
    problems = [*check_spelling(names), *check_near_duplicates(names)]
    for path, tree in trees.items():
        problems += check_dimensions(path, tree, known_dimensions)
        problems += check_face(path, tree)
        problems += check_safety(path, tree)
    return sorted([*problems, *check_lengths(modules, MAXIMUM_LINES)])


def check_repository(repository: Path = REPOSITORY) -> list[Problem]:
    """Apply every rule to the library."""
    modules = sources(repository)
    return check(modules, vocabulary(modules["neuromod/core/dimensions.py"]))


def main() -> int:
    """Print what has to be mended, and what is getting long."""
    problems = check_repository()
    for problem in problems:
        print(problem)
    for long in check_lengths(sources(), WARN_LINES):
        print(f"warning: {long}")
    print(f"{len(problems)} names or calls to mend in {len(sources())} modules")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
