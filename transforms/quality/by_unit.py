"""ByUnit: units meet what is known of their rows, so that those rows are read once more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from transforms.records import Unit


def numbered(unit: Unit) -> tuple[int, Unit]:
    """The unit by its number, to be grouped with what is known of it."""
    return unit.number, unit


@dataclass
class ByUnit(beam.PTransform):
    """((unit number, something), ``Unit``) ``-> (unit number, [Unit, something, …])``.

    ``parted`` tells the unit from the rest.
    """

    def expand(
        self, inputs: tuple[beam.PCollection[tuple[int, Any]], beam.PCollection[Unit]]
    ) -> beam.PCollection[tuple[int, Iterable[Any]]]:
        known, units = inputs
        # Made here, for this alone: Flink and Spark refuse a graph in which what is flattened has
        # other readers (Beam 2.70: "should have exactly one producing PTransformNode").
        keyed = units | "ByNumber" >> beam.Map(numbered).with_output_types(tuple[int, Any])
        return (known, keyed) | beam.Flatten() | "Group" >> beam.GroupByKey()


def parted(group: Iterable[Any]) -> tuple[Unit, list[Any]]:
    """The unit of a group, and all that is known of it."""
    parts = list(group)
    (unit,) = (part for part in parts if isinstance(part, Unit))
    return unit, [part for part in parts if not isinstance(part, Unit)]
