"""Invented names, numbers and ids, split for good into a training pool and a held-out pool. What they are written into is layouts.py."""
import datetime
import zlib

# Names are strings of these: 48 * 48 short ones and 48 times as many long ones.
SYLLABLES = (
    "ba bel bor bri da del dor dra fa fen fi gal gar gri ha hol ju ka kel kor kra la len lin "
    "ma mar mi mon na nel no pa per pol ra ren ro sa sel ta tan ti to va ven vor win zel"
).split()
LEGAL_FORMS = {"en": ["Ltd", "Inc", "LLC", "Group", "Partners"], "de": ["GmbH", "AG", "KG", "Gruppe", "Handel"]}
TRADES = {"en": ["", "", "Tools", "Foods", "Paper", "Steel", "Medical"], "de": ["", "", "Technik", "Papier", "Stahl", "Bau", "Druck"]}

# One value in eight belongs to the held-out pool: enough for examples, too little for training to miss it.
HELD_OUT_SHARE = 8


def is_held_out(value):
    """Whether this value may appear in held-out documents only. Depends on nothing but its text."""
    return zlib.crc32(value.encode()) % HELD_OUT_SHARE == 0


class Pool:
    """Draws values that all lie on one side of the split."""

    def __init__(self, rng, held_out):
        self.rng, self.held_out = rng, held_out

    def draw(self, make):
        """The first value of make() that lies on this pool's side."""
        while True:
            value = make()
            if is_held_out(value) == self.held_out:
                return value

    def pick(self, choices):
        """One of a closed vocabulary (labels, nouns, phrases), which both sides share."""
        return self.rng.choice(choices)

    def name(self):
        return self.draw(self._syllables)

    def person(self):
        return f"{self.name()} {self.name()}"

    def company(self, language):
        parts = [self.name(), self.pick(TRADES[language]), self.pick(LEGAL_FORMS[language])]
        return " ".join(part for part in parts if part)

    def digits(self, count):
        """A number of exactly so many digits, as text, without a leading zero."""
        return self.draw(lambda: str(self.rng.randrange(10 ** (count - 1), 10**count)))

    def cents(self):
        """An amount of money in cents, from 10 to 1000."""
        size = self.rng.choice([4, 5, 5])
        return int(self.draw(lambda: str(self.rng.randrange(10 ** (size - 1), 10**size))))

    def date(self):
        first = datetime.date(2021, 1, 1)
        day = self.draw(lambda: (first + datetime.timedelta(days=self.rng.randrange(3285))).isoformat())
        return datetime.date.fromisoformat(day)

    def _syllables(self):
        return "".join(self.rng.choice(SYLLABLES) for _ in range(self.rng.choice([2, 2, 3]))).capitalize()
