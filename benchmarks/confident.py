"""How often is a model confident and wrong about images from elsewhere, such as photos shown to a model of drawings?

    python benchmarks/confident.py BUNDLE PHOTOS [--not_vehicles FOLDER]

PHOTOS has one folder a class, named as the model names it; other folders are left out. Shares are of all images, also of those
that the model refuses: an image is `confident and wrong` if it is answered with at least 90 % and the answer is not its class.
"""

from pathlib import Path

from common import parser, save, table

from vehicle_nb.serving.predictor import Predictor, find_images


def shares(predictor: Predictor, images: list[tuple[Path, str]], what: str) -> dict:
    "What a model says about images of which the class is known; an empty class means none of the model's."
    predictions = predictor.predict_many([file for file, _ in images])
    answers = [(label, prediction) for (_, label), prediction in zip(images, predictions, strict=True)]
    known = [(label, prediction) for label, prediction in answers if prediction.known]
    wrong = [prediction for label, prediction in known if prediction.label != label]
    row = {"images": what, "count": len(answers), "answered": len(known), "wrong": len(wrong)}
    row["confident and wrong"] = sum(prediction.probability >= 0.9 for prediction in wrong)
    return row | {"share": round(row["confident and wrong"] / len(answers), 4)}


def main():
    parse = parser(__doc__)
    parse.add_argument("bundle", type=Path)
    parse.add_argument("photos", type=Path)
    parse.add_argument("--not_vehicles", type=Path, help="a folder of images that show none of the classes")
    args = parse.parse_args()
    predictor = Predictor(args.bundle)
    images = [(file, label) for label in predictor.classes if (args.photos / label).is_dir() for file in find_images([args.photos / label])]
    rows = [shares(predictor, images, args.photos.name)]
    if args.not_vehicles:
        rows.append(shares(predictor, [(file, "") for file in find_images([args.not_vehicles])], args.not_vehicles.name))
    table(rows)
    save(args.name, rows=rows)


if __name__ == "__main__":
    main()
