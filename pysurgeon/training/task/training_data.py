"""A data set with what is to be made of it, where that is not what its labels say: a loss, a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from pysurgeon.data import Dataset
from pysurgeon.training.losses.wanted import Wanted
from pysurgeon.training.task.teacher import Teacher

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, eq=False)
class TrainingData(Dataset):
    """A data set with a loss and a teacher.

    Attributes:
        wanted: The terms of the loss; what is usual where there is none.
        graphs: Losses of the user's own by their names, as ONNX messages.
        teacher: Whose outputs are the targets; `None` where the labels are.
        metric: What scores are called.
    """

    wanted: tuple[Wanted, ...] = ()
    graphs: Mapping[str, bytes] = field(default_factory=dict)
    teacher: Teacher | None = None
    metric: str = ""

    def proto(self, name: str) -> onnx.ModelProto:
        """A loss of the user's own."""
        import onnx

        return onnx.load_model_from_string(self.graphs[name])

    @staticmethod
    def of(
        data: Dataset, wanted: tuple[Wanted, ...], graphs: Mapping[str, bytes], teacher: Teacher | None, metric: str
    ) -> TrainingData:
        """The same samples, with a loss or a teacher."""
        given = {f.name: getattr(data, f.name) for f in fields(Dataset)}
        return TrainingData(**given, wanted=wanted, graphs=graphs, teacher=teacher, metric=metric)
