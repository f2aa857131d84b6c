"""Faces in pictures: where they are, who is who over time, and how they are cut out."""

from .crop import CROP_SIZE, aligned_crop
from .face import Face, FaceSource
from .sources import FACE_SOURCES, load_face_source
from .tracker_files import TrackerFaces
from .tracks import FaceTrack, TrackBuilder

__all__ = [
    "CROP_SIZE",
    "FACE_SOURCES",
    "Face",
    "FaceSource",
    "FaceTrack",
    "TrackBuilder",
    "TrackerFaces",
    "aligned_crop",
    "load_face_source",
]
