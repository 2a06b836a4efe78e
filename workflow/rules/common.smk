# Names -> paths, digests, commands. Whatever computes is in src/octathlon.
import atexit
import gc
import json
import os
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

from octathlon import names, registry
from octathlon.archives.identity import identity, recall
from octathlon.archives.preflight import missing, remarks
from octathlon.archives.sources import request
from octathlon.config import check_project, load
from octathlon.digest import code_digest as code
from octathlon.digest import data_digest
from octathlon.errors import OctathlonError
from octathlon.failures import failures
from octathlon.overlays import check_keys
from octathlon.scoring.describe import check_fields
from octathlon.scoring.plan import without_score

# What is imported stays, and so does nearly all that a plan makes: looking for garbage in it takes a tenth of its time.
gc.freeze()
gc.set_threshold(100_000)


def checked_config():
    """The configuration and the requests for its archives, or one message that lists everything that is wrong."""
    try:
        check_project(workflow.basedir)
        check_keys(workflow.configfiles)
        checked = load(config)
        for name, system in checked.keys.systems.items():
            check_fields(name, system.description)
        requests = [
            archive_request(checked, *names) for names in wanted_archives(checked)
        ]
    except OctathlonError as error:
        raise WorkflowError(str(error)) from None
    return checked, requests


def obstacles():
    """What keeps the run's archives from being there; empty if nothing does."""
    problems = [*missing(REQUESTS), *missing_image()]
    return "\n  ".join(["before anything can run:", *problems]) if problems else ""


def missing_image():
    """Says that the jobs' container is not there, if they are to run in it; one with a URL comes by itself."""
    inside = "apptainer" in map(str, workflow.deployment_settings.deployment_method)
    if inside and "://" not in KEYS.container and not Path(KEYS.container).exists():
        yield f"container: there is no {KEYS.container}; docs/containers.md says how to build it"


onstart:
    for remark in remarks(REQUESTS):
        logger.warning(remark)
    if told := obstacles():
        raise WorkflowError(told)


onerror:
    if told := [*failures("\n".join(Path(file).read_text() for file in log))]:
        logger.error("\n  ".join([f"failed ({len(told)}):", *told]))


@atexit.register
def tell_after_plan():
    """What `onstart` tells of a run; a dry run calls no handler, at its beginning or end."""
    if workflow.dryrun:
        print(*filter(None, [*remarks(REQUESTS), obstacles()]), sep="\n")


def wanted_archives(checked):
    """(data set, archive) of all archives of the run."""
    return [
        (dataset, name)
        for dataset, settings in checked.datasets.items()
        for name in registry.preparer(dataset).archives(settings)
    ]


def archive_request(checked, dataset, name):
    """Where an archive comes from and where it goes."""
    folder = Path(checked.keys.data, checked.keys.scale, dataset, "archives")
    source = checked.datasets[dataset].source_of(name)
    return request(dataset, registry.sources(dataset), name, source, folder)


CONFIG, REQUESTS = checked_config()
REQUESTED = {(request.dataset, request.archive.name): request for request in REQUESTS}
KEYS = CONFIG.keys
os.environ[names.LOGINS] = " ".join(
    {request.address for request in REQUESTS if request.address != request.source}
)

# A container has the packages only.
os.environ.update(PYTHONPATH=str(Path(workflow.basedir, "src").resolve()))

if workflow.is_main_process:
    for sentence in without_score(
        {name: CONFIG.runs(name) for name in CONFIG.benchmarks}
    ):
        logger.warning(sentence)


def archive_folder(dataset):
    return str(Path(KEYS.data, KEYS.scale, dataset, "archives"))


def archive(dataset, name):
    """The receipt of an archive."""
    return f"{archive_folder(dataset)}/{name}.json"


def prepared(dataset, *parts):
    """A path in the folder of a prepared data set."""
    return str(Path(KEYS.data, KEYS.scale, dataset, "prepared", *parts))


def results(*parts):
    """A path in the results tree of this scale."""
    return str(Path(KEYS.results, KEYS.scale, *parts))


def package_folder():
    """Beside the results: inside them its logs would be scored once more."""
    return str(Path(KEYS.results).with_name("package") / KEYS.scale)


def steps(dataset, kind):
    """The names of a data set's preparation jobs of one kind."""
    settings = CONFIG.datasets.get(dataset)
    return registry.preparer(dataset).steps(settings)[kind] if settings else []


def receipt(dataset, step):
    """The receipt of a preparation job."""
    return prepared(dataset, "receipts", f"{step}.json")


def receipts(dataset, *kinds):
    """The receipts of all preparation jobs of some kinds."""
    return [receipt(dataset, step) for kind in kinds for step in steps(dataset, kind)]


def preparations(_wildcards):
    """All manifests and all receipts before them; of archives, those that had one before.

    Snakemake does not miss a file as long as there is what was made of it. So what a killed job took away would stay
    away, and what was to be made of it would stay old, if nothing asked for it by name.
    """
    archives = [str(request.receipt) for request in REQUESTS if recall(request.receipt)]
    jobs = [
        receipt(dataset, step)
        for dataset, settings in CONFIG.datasets.items()
        for names in registry.preparer(dataset).steps(settings).values()
        for step in names
    ]
    return (
        archives
        + jobs
        + [prepared(dataset, "manifest.json") for dataset in CONFIG.datasets]
    )


def needs(dataset):
    """A function that gives a preparation job the receipts of the archives and steps that its {step} reads."""

    def of_step(wildcards):
        names, before = registry.preparer(dataset).needs(
            wildcards.step, CONFIG.datasets[dataset]
        )
        archives = [archive(dataset, name) for name in names]
        return archives + [receipt(dataset, step) for step in before]

    return of_step


def prepare_options(dataset):
    """What `octathlon prepare` is told beside the step: where from, where to, how."""
    settings = CONFIG.datasets.get(dataset)
    options = {
        "scale": KEYS.scale,
        "archives": archive_folder(dataset),
        "out": prepared(dataset),
        "settings": json.dumps(
            settings.preparation() if settings else {}, sort_keys=True
        ),
    }
    return as_options(options)


def source(wildcards):
    """How `archives.smk` gets an archive: the command and its options."""
    settings = CONFIG.datasets[wildcards.dataset]
    chosen = settings.source_of(wildcards.archive)
    if chosen == "miniature":
        sizes = json.dumps(settings.miniature, sort_keys=True)
        options = {"scale": KEYS.scale, "seed": KEYS.seed, "settings": sizes}
        return {"command": "miniature", "options": as_options(options)}
    return {
        "command": "fetch",
        "options": as_options({"source": names.without_login(chosen)}),
    }


def requested(wildcards):
    """The request for an archive; a user may ask for one that the run does not need."""
    names = wildcards.dataset, wildcards.archive
    return REQUESTED.get(names) or archive_request(CONFIG, *names)


def download_slots(wildcards):
    """How many of the slots for downloads an archive takes: what is at hand or drawn waits for none."""
    return int(requested(wildcards).is_download())


def archive_identity(wildcards):
    """Changes exactly when the archive's content does, so a job with it reruns exactly then."""
    wanted = requested(wildcards)
    return identity(wanted.receipt, wanted.watched())


def archive_code(wildcards):
    settings = CONFIG.datasets[wildcards.dataset]
    if settings.source_of(wildcards.archive) == "miniature":
        return code(f"octathlon.miniatures.{wildcards.dataset}")
    return sources_digest(wildcards.dataset)


@cache
def sources_digest(dataset):
    return data_digest(f"datasets/{dataset}/sources.yaml")


def manifest(wildcards):
    """The manifest that a benchmark trains on; none for one that makes its own data."""
    dataset = registry.dataset_of(wildcards.benchmark)
    return [prepared(dataset, "manifest.json")] if dataset else []


def kernels(benchmark):
    """The file that says that a benchmark's kernels are compiled."""
    return str(Path(KEYS.data, KEYS.scale, "kernels", benchmark))


def all_kernels():
    """Those of all benchmarks of the run."""
    return [
        kernels(name) for name in registry.with_kernels() if name in CONFIG.benchmarks
    ]


def train_options(wildcards):
    """What `octathlon train` is told beside its output."""
    dataset = registry.dataset_of(wildcards.benchmark)
    options = rank_options(wildcards) | {
        "seed": KEYS.seed + int(wildcards.n),
        "submitter": KEYS.submitter,
        "platform": wildcards.system,
        "status": KEYS.status,
    }
    return (["--data", prepared(dataset)] if dataset else []) + as_options(options)


def rank_options(wildcards):
    """What the ranks of a benchmark on a system are told, in earnest and in a rehearsal."""
    system = KEYS.systems[wildcards.system]
    settings = CONFIG.benchmarks[wildcards.benchmark].training()
    return {
        "scale": KEYS.scale,
        "settings": json.dumps(settings, sort_keys=True),
        "device": "cuda" if system.accelerators_per_node else "cpu",
        "threads": system.cores_per_node // system.processes_per_node,
    }


def train_code(wildcards):
    return code(
        f"octathlon.benchmarks.{wildcards.benchmark}.benchmark",
        "octathlon.harness.session",
    )


def rehearse_options(wildcards):
    """What `octathlon rehearse` is told beside its output."""
    return as_options(rank_options(wildcards) | {"seed": KEYS.seed})


def rehearse_code(wildcards):
    return code(
        f"octathlon.benchmarks.{wildcards.benchmark}.benchmark",
        f"octathlon.benchmarks.{wildcards.benchmark}.synthetic",
        "octathlon.rehearsal.command",
    )


def launch(wildcards):
    return KEYS.systems[wildcards.system].launch()


def launch_alone(wildcards):
    return KEYS.systems[wildcards.system].one_node().launch()


def of_system(resource):
    """A function that gives a timed run one of its resources, which are those of its system."""
    return lambda wildcards: KEYS.systems[wildcards.system].scheduling()[resource]


def of_node(resource):
    """A function that gives a job on one node of a timed run's system one of its resources."""
    return (
        lambda wildcards: KEYS.systems[wildcards.system]
        .one_node()
        .scheduling()[resource]
    )


def placement(option, before=""):
    """A function that gives a job one of its system's options for Slurm, or else the profile's for all jobs."""
    default = workflow.resource_settings.default_resources.get(option)

    def of_job(wildcards, **context):
        own = getattr(KEYS.systems[wildcards.system], option)
        chosen = own or default.evaluate(wildcards, **context).value
        return " ".join(filter(None, [before, chosen])) or None

    return of_job


def system_options(wildcards):
    """What `octathlon system` is told beside its output."""
    system = KEYS.systems[wildcards.system]
    options = {
        "submitter": KEYS.submitter,
        "division": CONFIG.division,
        "status": KEYS.status,
        "nodes": system.nodes,
        "accelerators": system.accelerators_per_node,
        "fields": json.dumps(system.description, sort_keys=True),
    }
    return as_options(options)


def as_options(values):
    return [text for key, value in values.items() for text in (f"--{key}", str(value))]


def package_options(_wildcards):
    """What `octathlon package` is told beside logs and folder. A function, as only its values may have braces in them."""
    return run_counts() + as_options(
        {"config": names.without_login(json.dumps(config, sort_keys=True))}
    )


def of_organisation(*parts):
    """A path in the submitter's part of the results tree."""
    return results(names.folder(KEYS.submitter), *parts)


def logs():
    """The logs of all timed runs."""
    return [
        of_organisation("results", system, benchmark, f"result_{n}.txt")
        for system in KEYS.systems
        for benchmark in CONFIG.benchmarks
        for n in range(CONFIG.runs(benchmark))
    ]


def descriptions():
    """The descriptions of all systems."""
    return [of_organisation("systems", f"{system}.json") for system in KEYS.systems]


def rehearsals():
    """What is measured of all benchmarks on all systems in a rehearsal."""
    return [
        results("rehearsals", system, f"{benchmark}.json")
        for system in KEYS.systems
        for benchmark in CONFIG.benchmarks
    ]


def held_rehearsals(_wildcards):
    """Those that there are: a round needs none."""
    return [path for path in rehearsals() if Path(path).exists()]


def report_options(wildcards):
    """What `octathlon report` is told beside scores and page."""
    options = {"scale": KEYS.scale, "systems": of_organisation("systems")}
    return as_options(options) + [
        f"--rehearsal={path}" for path in held_rehearsals(wildcards)
    ]


def run_counts():
    return [
        f"--runs={benchmark}={CONFIG.runs(benchmark)}"
        for benchmark in CONFIG.benchmarks
    ]


wildcard_constraints:
    dataset="|".join(registry.datasets()),
    benchmark="|".join(registry.benchmarks()),
    system="|".join(map(re.escape, KEYS.systems)),
    n=r"\d+",
