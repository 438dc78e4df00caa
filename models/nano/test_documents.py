"""Checks of the synthetic documents: python -m unittest, no torch needed."""
import json
import re
import unittest

from documents import training_hash, training_sample
from held_out import development, examples
from names import is_held_out


def words(sample):
    """Everything long enough to be an invented value: capitalised words and numbers of five digits."""
    text = " ".join(message["content"] for message in sample.messages)
    return set(re.findall(r"\b\d{5}\b", text)), set(re.findall(r"[A-ZÄÖÜ][a-zäöü]+", text))


class DocumentsTest(unittest.TestCase):
    def test_a_sample_depends_on_its_number_alone(self):
        self.assertEqual(training_sample(123_456).line(), training_sample(123_456).line())
        self.assertNotEqual(training_hash(50), training_hash(51))

    def test_held_out_numbers_never_occur_in_training(self):
        held = set().union(*(words(sample)[0] for sample in examples()))
        self.assertGreater(len(held), 100)
        for number in range(20_000, 22_000):
            self.assertFalse(held & words(training_sample(number))[0])

    def test_held_out_names_are_held_out(self):
        for sample in examples():
            if sample.task == "summarise":
                first, last = sample.answer.split()[:2]
                self.assertTrue(is_held_out(first) and is_held_out(last))

    def test_extractions_are_json_and_summaries_one_line(self):
        for sample in examples() + development(1):
            if sample.task == "extract":
                self.assertIsInstance(json.loads(sample.answer), dict)
            self.assertNotIn("\n", sample.answer)

    def test_development_and_examples_share_no_document(self):
        shown = {sample.messages[-1]["content"] for sample in examples()}
        self.assertFalse(shown & {sample.messages[-1]["content"] for sample in development()})


if __name__ == "__main__":
    unittest.main()
