"""Business documents as plain text in English and German, with the fields they hold. What is asked about them is documents.py."""
from dataclasses import dataclass, field

CURRENCIES = {"EUR": "€", "USD": "$", "GBP": "£", "CHF": "CHF"}
GOODS = {
    "en": ["paper", "screws", "lamps", "cables", "filters", "gloves", "labels", "pumps", "coffee", "chairs", "toner", "tape"],
    "de": ["Papier", "Schrauben", "Lampen", "Kabel", "Filter", "Handschuhe", "Etiketten", "Pumpen", "Kaffee", "Stühle", "Toner", "Klebeband"],
}


@dataclass
class Field:
    """One fact of a document: the answer, and where and how the text says it."""

    value: object
    where: str
    raw: str


@dataclass
class Document:
    kind: str
    language: str
    text: str = ""
    fields: dict = field(default_factory=dict)
    # Why the document is of its kind or category, in its own words.
    evidence: str = ""
    category: str = ""
    summary: str = ""


def date_text(pool, language, date):
    """A date in one of the customary numeric forms of the language."""
    return pool.pick([f"{date:%d.%m.%Y}", date.isoformat()]) if language == "de" else date.isoformat()


def amount_text(language, cents):
    """1240.50 with the thousands and decimal marks of the language."""
    text = f"{cents // 100:,}.{cents % 100:02d}"
    return text.translate(str.maketrans(",.", ".,")) if language == "de" else text


def money(pool, language, cents, currency):
    sign = pool.pick([CURRENCIES[currency], currency])
    amount = amount_text(language, cents)
    return f"{amount} {sign}" if language == "de" or sign == currency else f"{sign}{amount}"


def say(language, english, german):
    return german if language == "de" else english


def labelled(document, key, label, value, raw):
    """Records a field that stands behind a label; returns the line."""
    document.fields[key] = Field(value, say(document.language, f"after {label}", f"nach {label}"), raw)
    return f"{label}: {raw}"


def headed(document, key, value):
    """Records a field that stands alone at the top; returns the line."""
    document.fields[key] = Field(value, say(document.language, "at the top", "ganz oben"), value)
    return value


def item_lines(pool, language, cents):
    """One or two bought items whose prices add up."""
    lines, rest = [], cents
    for left in reversed(range(pool.pick([1, 2]))):
        price = rest if left == 0 else rest * pool.rng.randrange(20, 70) // 100
        rest -= price
        lines.append(f"{pool.rng.randrange(1, 30)} x {pool.pick(GOODS[language])} {amount_text(language, price)}")
    return lines


def invoice(pool, language):
    doc = Document("invoice", language)
    cents, date, currency = pool.cents(), pool.date(), pool.pick(list(CURRENCIES))
    number = pool.pick(["INV", "RE", "R", "F"]) + "-" + pool.digits(5)
    title = say(language, pool.pick(["Invoice", "INVOICE", "Tax invoice"]), pool.pick(["Rechnung", "RECHNUNG"]))
    vendor = headed(doc, "vendor", pool.company(language))
    to = say(language, pool.pick(["Bill to", "Customer"]), pool.pick(["Rechnung an", "Kunde"])) + ": " + pool.person()
    number_line = labelled(doc, "invoice_no", say(language, pool.pick(["Invoice no", "Number"]), pool.pick(["Rechnungsnr", "Nummer"])), number, number)
    date_line = labelled(doc, "date", say(language, pool.pick(["Date", "Invoice date"]), pool.pick(["Datum", "Rechnungsdatum"])), date.isoformat(), date_text(pool, language, date))
    tax = cents * 19 // 119
    total_raw = money(pool, language, cents, currency)
    total_line = labelled(doc, "total", say(language, pool.pick(["Total", "Amount due"]), pool.pick(["Gesamt", "Zu zahlen"])), cents / 100, total_raw)
    doc.fields["currency"] = Field(currency, doc.fields["total"].where, total_raw)
    tax_line = say(language, "VAT", "MwSt") + ": " + amount_text(language, tax)
    head = [vendor, title, to, number_line, date_line]
    if pool.rng.random() < 0.4:
        head = [vendor, f"{title}", date_line, number_line, to]
    doc.text = "\n".join(head + item_lines(pool, language, cents - tax) + [tax_line, total_line])
    doc.evidence = title
    return doc


def receipt(pool, language):
    doc = Document("receipt", language)
    cents, date, currency = pool.cents(), pool.date(), pool.pick(list(CURRENCIES))
    store = headed(doc, "store", pool.company(language))
    title = say(language, pool.pick(["Receipt", "Sales receipt"]), pool.pick(["Quittung", "Kassenbon"]))
    date_raw = date_text(pool, language, date)
    date_line = labelled(doc, "date", say(language, "Date", "Datum"), date.isoformat(), date_raw)
    total_line = labelled(doc, "total", say(language, pool.pick(["Total", "Sum"]), pool.pick(["Summe", "Gesamt"])), cents / 100, money(pool, language, cents, currency))
    doc.fields["currency"] = Field(currency, doc.fields["total"].where, doc.fields["total"].raw)
    payment = pool.pick(["cash", "card"])
    paid = say(language, payment, {"cash": "bar", "card": "Karte"}[payment])
    paid_line = labelled(doc, "payment", say(language, "Paid by", "Zahlung"), payment, paid)
    clerk = say(language, "Served by", "Es bediente") + ": " + pool.name()
    top = [store, title, date_line, clerk] if pool.rng.random() < 0.6 else [store, f"{title} {pool.digits(4)}", clerk, date_line]
    doc.text = "\n".join(top + item_lines(pool, language, cents) + [total_line, paid_line])
    doc.evidence = title
    return doc


def delivery_note(pool, language):
    doc = Document("delivery_note", language)
    date, number, order = pool.date(), "LS-" + pool.digits(5), pool.digits(5)
    weight = pool.digits(4)
    supplier = headed(doc, "supplier", pool.company(language))
    title = say(language, pool.pick(["Delivery note", "Packing slip"]), pool.pick(["Lieferschein", "Packzettel"]))
    lines = [
        labelled(doc, "delivery_no", say(language, pool.pick(["Delivery no", "Note"]), pool.pick(["Lieferschein-Nr", "Nummer"])), number, number),
        labelled(doc, "order_no", say(language, pool.pick(["Order", "Your order"]), pool.pick(["Auftrag", "Ihre Bestellung"])), order, order),
        labelled(doc, "date", say(language, pool.pick(["Shipped", "Date"]), pool.pick(["Versand", "Datum"])), date.isoformat(), date_text(pool, language, date)),
        labelled(doc, "recipient", say(language, pool.pick(["Ship to", "Recipient"]), pool.pick(["Lieferung an", "Empfänger"])), None, pool.company(language)),
    ]
    doc.fields["recipient"].value = doc.fields["recipient"].raw
    pool.rng.shuffle(lines)
    goods = [f"{pool.rng.randrange(1, 90)} x {pool.pick(GOODS[language])}" for _ in range(pool.pick([1, 2]))]
    weight_line = labelled(doc, "weight_kg", say(language, "Weight", "Gewicht"), int(weight), f"{weight} kg")
    doc.text = "\n".join([supplier, title] + lines + goods + [weight_line])
    doc.evidence = title
    return doc
