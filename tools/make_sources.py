"""Write the tables of two public collections of adults as sources of the default recipe.

    python tools/make_sources.py --rsna FOLDER --nih FOLDER --out sources

`rsna.csv` has the images of the RSNA challenge with class, finding, view and age, and `rsna_boxes.csv` the boxes around
opacities as fractions. `nih.csv` has the images of NIH ChestX-ray14 without a finding; its labels of findings come from
reports by text mining and are left out. The images stay where they are.
"""

import argparse
import csv
from pathlib import Path

RSNA_CLASSES = {
    "Lung Opacity": ("PNEUMONIA", "opacity"),
    "Normal": ("NORMAL", "normal"),
    "No Lung Opacity / Not Normal": ("NORMAL", "other"),
}
SUFFIXES = (".jpeg", ".jpg", ".png", ".dcm")  # of images
BOX_SIDE = 1024  # pixels of the images in which the boxes are given


def read(path):
    "The rows of a table"
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path, columns, rows):
    "Write a table"
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def rsna(folder, out):
    "Tables of the images and boxes of RSNA"
    files = {path.stem: path.resolve() for path in folder.rglob("*.*") if path.suffix in SUFFIXES}
    rows = [
        (files[r["patientId"]], *RSNA_CLASSES[r["cls"]], r["patientId"], "train", r["view"], r["age"])
        for r in read(folder / "labels.csv")
    ]
    write(out / "rsna.csv", ("path", "label", "finding", "patient", "split", "view", "age"), rows)
    boxes = [
        (files[r["patientId"]], *(float(r[name]) / BOX_SIDE for name in ("x", "y", "width", "height")))
        for r in read(folder / "boxes.csv")
        if r["x"]
    ]
    write(out / "rsna_boxes.csv", ("path", "x", "y", "width", "height"), boxes)
    return len(rows), len(boxes)


def nih(folder, out):
    "Table of the images of NIH without a finding"
    rows = [
        ((folder / "images" / r["image"]).resolve(), "NORMAL", f"nih-{r['patient']}", "train", r["view"], r["age"])
        for r in read(folder / "labels.csv")
        if r["No Finding"] == "1"
    ]
    write(out / "nih.csv", ("path", "label", "patient", "split", "view", "age"), rows)
    return len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rsna", type=Path, help="folder with labels.csv, boxes.csv and images")
    parser.add_argument("--nih", type=Path, help="folder with labels.csv and images")
    parser.add_argument("--out", type=Path, default=Path("sources"), help="folder of the tables")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.rsna:
        print("rsna.csv: {} images, {} boxes".format(*rsna(options.rsna, options.out)))
    if options.nih:
        print(f"nih.csv: {nih(options.nih, options.out)} images")


if __name__ == "__main__":
    main()
