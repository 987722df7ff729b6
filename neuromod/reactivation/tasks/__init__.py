"""Tasks: what networks learn while they are awake."""

from neuromod.reactivation.tasks.head_direction import HeadDirection as HeadDirection
from neuromod.reactivation.tasks.predictive import Predictive as Predictive
from neuromod.reactivation.tasks.recorded import Recorded as Recorded
from neuromod.reactivation.tasks.spatial import SpatialNavigation as SpatialNavigation
from neuromod.reactivation.tasks.task import Batch as Batch
from neuromod.reactivation.tasks.task import Task as Task
from neuromod.reactivation.tasks.tracks import LinearTrack as LinearTrack
from neuromod.reactivation.tasks.tracks import TMaze as TMaze
from neuromod.reactivation.tasks.tracks import Triangle as Triangle

__all__ = [
    "Batch",
    "HeadDirection",
    "LinearTrack",
    "Predictive",
    "Recorded",
    "SpatialNavigation",
    "TMaze",
    "Task",
    "Triangle",
]
