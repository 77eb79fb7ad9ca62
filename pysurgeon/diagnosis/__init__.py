"""Diagnosis: spectra, information criteria, and the operations that they recommend."""

from pysurgeon.diagnosis.criteria import activation_rank, effective_rank, stable_rank, weight_rank
from pysurgeon.diagnosis.diagnose import Diagnosis, LayerDiagnosis, WidthDiagnosis, diagnose
from pysurgeon.diagnosis.recommend import Objective, Recommendation, Slopes, growth, recommend

__all__ = [
    "Diagnosis",
    "LayerDiagnosis",
    "Objective",
    "Recommendation",
    "Slopes",
    "WidthDiagnosis",
    "activation_rank",
    "diagnose",
    "effective_rank",
    "growth",
    "recommend",
    "stable_rank",
    "weight_rank",
]
