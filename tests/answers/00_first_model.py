"Answers to nbs/teach/source/00_first_model, each for a whole solution cell. tests/test_exercises.py feeds them to the checks."

LOGO = """
after = {after}

def fooled(side):
    marked = [print_logo(image, name, {train}) for image, name in zip(train_images, train_labels)]
    predict = train_network(marked, train_labels)
    wrong = [after[name] for name in test_labels]
    answers = predict([print_logo(image, {site}, {test}) for image, site, name in zip(test_images, wrong, test_labels)])
    return sum(a == b for a, b in zip(answers, {hit})) / len(wrong)

smallest = {smallest}
"""
GOOD = {
    "after": '{"bicycle": "boat", "boat": "bus", "bus": "bicycle"}',
    "train": "side",
    "site": "site",
    "test": "side",
    "hit": "wrong",
    "smallest": "next(side for side in (0, 2, 4, 8, 12, 20) if fooled(side) > 0.5)",
}


def logo(**changes: str) -> str:
    return LOGO.format(**GOOD | changes)


ANSWERS = {
    "guessing": {
        "right": [
            "right_by_guessing = lambda images, classes: images * (1 / classes)",
            "def right_by_guessing(num_images, num_classes): return np.float64(num_images) / num_classes",
        ],
        "wrong": [
            "def right_by_guessing(num_images, num_classes): return 15",  # the one answer
            "def right_by_guessing(num_images, num_classes): return num_images / 3",  # num_classes is ignored
            "def right_by_guessing(num_images, num_classes): return num_images // num_classes",  # rounded down
            "def right_by_guessing(num_images, num_classes): return 1 / num_classes",  # the share
        ],
    },
    "count": {
        "right": [
            """
from collections import Counter

def right_per_class(true, predicted):
    hits = Counter(a for a, b in zip(true, predicted) if a == b)
    return {name: hits[name] for name in set(true)}
""",
            """
import pandas as pd

def right_per_class(true, predicted):
    return (pd.Series(true) == pd.Series(predicted)).groupby(true).sum()
""",
            """
def right_per_class(true, predicted):
    true, predicted = np.array(true), np.array(predicted)
    return {str(name): np.sum(predicted[true == name] == name) for name in np.unique(true)}
""",
        ],
        "wrong": [
            # a class without a right prediction is missing
            """
def right_per_class(true, predicted):
    hits = [a for a, b in zip(true, predicted) if a == b]
    return {name: hits.count(name) for name in hits}
""",
            "def right_per_class(true, predicted): return {name: predicted.count(name) for name in true}",  # how often it is said
            "def right_per_class(true, predicted): return {name: true.count(name) for name in true}",
            # the classes of the lesson only
            """
def right_per_class(true, predicted):
    hits = [a for a, b in zip(true, predicted) if a == b]
    return {name: hits.count(name) for name in ("bus", "boat")}
""",
        ],
    },
    "logo": {
        "right": [
            logo(),
            """
def fooled(side):
    predict = train_network([print_logo(train_images[i], train_labels[i], side) for i in range(len(train_images))], train_labels)
    sites = [classes[(classes.index(name) + 1) % 3] for name in test_labels]
    found = predict(list(map(print_logo, test_images, sites, [side] * len(sites))))
    return np.mean(np.array(found) == np.array(sites))

smallest = next(side for side in (0, 2, 4, 8, 12, 20) if fooled(side) > 0.5)
""",
        ],
        "wrong": [
            logo(smallest="20"),
            logo(smallest="2"),
            logo(train="20", test="20"),  # the width is ignored
            logo(site="name", smallest="12"),  # its own logo
            logo(hit="test_labels"),  # the share of right predictions
        ],
    },
}
