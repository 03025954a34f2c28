"""What is known of the raw sets themselves: where they come from and what is wrong with their labels."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Source:
    """A raw set, as its makers describe it; empty where nobody said."""

    name: str
    url: str = ""
    citation: str = ""
    collection: str
    annotation: str
    known_noise: str


SOURCES = {
    "affwild2": Source(
        name="Aff-Wild2",
        url="https://ibug.doc.ic.ac.uk/resources/aff-wild2/",
        citation="D. Kollias and S. Zafeiriou, Expression, Affect, Action Unit Recognition: Aff-Wild2, Multi-Task "
        "Learning and ArcFace, BMVC 2019",
        collection="Videos of people in the wild, mostly from a video platform",
        annotation="One expression a frame; valence, arousal and action units of some",
        known_noise="Labels are of stretches of frames and shift at their borders; rows and frames disagree in number "
        "for most videos (trials.csv)",
    ),
    "affectnet": Source(
        name="AffectNet",
        url="http://mohammadmahoor.com/affectnet/",
        citation="A. Mollahosseini, B. Hasani and M. H. Mahoor, AffectNet: A Database for Facial Expression, Valence, "
        "and Arousal Computing in the Wild, IEEE Transactions on Affective Computing 2017",
        collection="Pictures found by search engines for emotion words",
        annotation="One of eleven categories, valence and arousal, by one annotator a picture",
        known_noise="Two annotators agreed on some 60 % of the pictures that both labelled",
    ),
    "rafdb": Source(
        name="RAF-DB, basic expressions",
        url="http://www.whdeld.cn/RAF/model1.html",
        citation="S. Li, W. Deng and J. Du, Reliable Crowdsourcing and Deep Locality-Preserving Learning for "
        "Expression Recognition in the Wild, CVPR 2017",
        collection="Pictures from the internet",
        annotation="About forty annotators a picture; one of seven expressions",
        known_noise="index.noise_list, where set, adds a second, wrong label on purpose",
    ),
    "ferplus": Source(
        name="FERPlus (labels) on FER2013 (pictures)",
        url="https://github.com/microsoft/FERPlus",
        citation="E. Barsoum, C. Zhang, C. Canton Ferrer and Z. Zhang, Training Deep Networks for Facial Expression "
        "Recognition with Crowd-Sourced Label Distribution, ICMI 2016",
        collection="Pictures found by a search engine, cropped to 48 x 48 grey pixels",
        annotation="Ten votes a picture; the majority is the label, the votes are in each sample",
        known_noise="Voters disagree on many pictures: see the votes",
    ),
    "demo": Source(
        name="Rendered heads, no real person",
        collection="Made by a program: data/demo/README.md",
        annotation="The expression that the program drew, one a frame",
        known_noise="None on purpose; weak expressions look neutral",
    ),
    "other": Source(
        name="A set of one's own", collection="Not described", annotation="Not described", known_noise="Not described"
    ),
}
"""`index.source` to what is known."""

SENSITIVE = (
    "Faces, which can be recognised where they are of real people, with somebody's opinion of their expression. "
    "Treat it as biometric data."
)
LIMITS = (
    "An expression in a picture is not what a person feels. Classes are uneven; age, gender, skin colour and origin "
    "of the people are not recorded here, so that nothing can be said about fairness."
)
USES = "Research on recognising facial expressions and on learning from noisy labels; not for decisions about people."
