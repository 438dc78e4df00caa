"""Support tickets as plain text in English and German: what customers complain about and what they want. Paper documents are layouts.py."""
from layouts import Document, Field, date_text, say

PRODUCTS = {
    "en": ["coffee machine", "desk lamp", "printer", "drill", "office chair", "monitor", "heater", "router", "scanner", "keyboard"],
    "de": ["Kaffeemaschine", "Lampe", "Drucker", "Bohrmaschine", "Bürostuhl", "Monitor", "Heizung", "Router", "Scanner", "Tastatur"],
}
# category, short form for the summary, the customer's own sentences
PROBLEMS = {
    "en": [
        ("defect", "a cracked case", ["The case is cracked.", "There is a crack in the case."]),
        ("defect", "no power", ["It does not turn on.", "It stays dark when I press the button."]),
        ("defect", "a loud noise", ["It makes a loud noise.", "It rattles all the time."]),
        ("delivery", "a late delivery", ["It has not arrived yet.", "I am still waiting for the parcel."]),
        ("delivery", "a wrong item", ["You sent me something else.", "The wrong item was in the box."]),
        ("delivery", "missing parts", ["Some parts are missing.", "The box was not complete."]),
        ("billing", "a double charge", ["I was charged twice.", "The money was taken two times."]),
        ("billing", "a missing discount", ["My discount was not applied.", "The voucher was ignored."]),
        ("billing", "a wrong price", ["The price on the bill is too high.", "The bill shows the wrong price."]),
        ("account", "a failed login", ["I cannot log in to see my order.", "My password no longer works."]),
        ("account", "a wrong address", ["My account shows an old address.", "The address in my profile is wrong."]),
    ],
    "de": [
        ("defect", "ein gerissenes Gehäuse", ["Das Gehäuse ist gerissen.", "Im Gehäuse ist ein Riss."]),
        ("defect", "keinen Strom", ["Das Gerät geht nicht an.", "Es bleibt dunkel, wenn ich den Knopf drücke."]),
        ("defect", "ein lautes Geräusch", ["Es macht ein lautes Geräusch.", "Es klappert die ganze Zeit."]),
        ("delivery", "eine späte Lieferung", ["Es ist noch nicht angekommen.", "Ich warte immer noch auf das Paket."]),
        ("delivery", "einen falschen Artikel", ["Sie haben mir etwas anderes geschickt.", "Im Karton war der falsche Artikel."]),
        ("delivery", "fehlende Teile", ["Einige Teile fehlen.", "Der Karton war nicht vollständig."]),
        ("billing", "eine doppelte Abbuchung", ["Es wurde zweimal abgebucht.", "Das Geld wurde doppelt eingezogen."]),
        ("billing", "einen fehlenden Rabatt", ["Mein Rabatt wurde nicht abgezogen.", "Der Gutschein wurde nicht beachtet."]),
        ("billing", "einen falschen Preis", ["Der Preis auf der Rechnung ist zu hoch.", "Die Rechnung zeigt den falschen Preis."]),
        ("account", "eine gescheiterte Anmeldung", ["Ich kann mich nicht anmelden.", "Mein Passwort geht nicht mehr."]),
        ("account", "eine falsche Adresse", ["Mein Konto zeigt eine alte Adresse.", "Die Adresse in meinem Profil ist falsch."]),
    ],
}
WISHES = {
    "en": [
        ("a refund", ["Please give me my money back.", "I would like a refund."]),
        ("a replacement", ["Please send me a new one.", "I would like a replacement."]),
        ("a callback", ["Please call me back.", "I would like a call from you."]),
        ("a correction", ["Please correct this.", "I would like you to fix this."]),
        ("a status update", ["Please tell me how it goes on.", "I would like to know the status."]),
    ],
    "de": [
        ("eine Erstattung", ["Bitte geben Sie mir mein Geld zurück.", "Ich möchte eine Erstattung."]),
        ("einen Ersatz", ["Bitte schicken Sie mir ein neues Gerät.", "Ich möchte einen Ersatz."]),
        ("einen Rückruf", ["Bitte rufen Sie mich zurück.", "Ich möchte einen Anruf von Ihnen."]),
        ("eine Korrektur", ["Bitte korrigieren Sie das.", "Ich möchte, dass Sie das ändern."]),
        ("eine Auskunft", ["Bitte sagen Sie mir, wie es weitergeht.", "Ich möchte den Stand erfahren."]),
    ],
}


def ticket(pool, language):
    """A ticket in one of three layouts: e-mail, form or chat."""
    doc = Document("support_ticket", language)
    customer, order = pool.person(), pool.digits(5)
    product = f"{pool.pick(PRODUCTS[language])} {pool.name()}"
    doc.category, problem, sentences = pool.pick(PROBLEMS[language])
    wish, requests = pool.pick(WISHES[language])
    doc.evidence, request = pool.pick(sentences), pool.pick(requests)
    layout = pool.pick([email, form, chat])
    layout(doc, pool, customer, order, product, request)
    doc.fields["problem"] = Field(problem, say(language, "they write", "Text"), doc.evidence)
    doc.fields["wish"] = Field(wish, say(language, "they ask", "Bitte"), request)
    doc.summary = say(
        language,
        f"{customer} reports {problem} ({product}, order {order}), wants {wish}.",
        f"{customer} meldet {problem} ({product}, Auftrag {order}), wünscht {wish}.",
    )
    return doc


def email(doc, pool, customer, order, product, request):
    de = doc.language
    sender, subject = say(de, "From", "Von"), say(de, "Subject", "Betreff")
    opening = say(de, pool.pick([f"This is about my {product}.", f"I bought a {product}."]), pool.pick([f"Es geht um {product}.", f"Gekauft habe ich: {product}."]))
    subject_text = say(de, "order", "Auftrag")
    doc.text = "\n".join([
        f"{sender}: {customer}",
        f"{subject}: {subject_text} {order}",
        say(de, pool.pick(["Hello,", "Good morning,"]), pool.pick(["Hallo,", "Guten Tag,"])),
        f"{opening} {doc.evidence} {request}",
    ])
    place(doc, "customer", customer, sender)
    place(doc, "order_no", order, subject)
    place(doc, "product", product, say(de, "the text", "dem Text"))


def form(doc, pool, customer, order, product, request):
    de = doc.language
    labels = [say(de, "Customer", "Kunde"), say(de, "Order", "Auftrag"), say(de, "Product", "Produkt")]
    lines = [f"{labels[0]}: {customer}", f"{labels[1]}: {order}", f"{labels[2]}: {product}"]
    pool.rng.shuffle(lines)
    opened = say(de, "Opened", "Eröffnet") + ": " + date_text(pool, de, pool.date())
    doc.text = "\n".join([f"Ticket {pool.digits(4)}", opened] + lines + [say(de, "Message", "Nachricht") + f": {doc.evidence} {request}"])
    for key, value, label in zip(["customer", "order_no", "product"], [customer, order, product], labels):
        place(doc, key, value, label)


def chat(doc, pool, customer, order, product, request):
    de = doc.language
    agent = "Agent"
    ask = say(de, pool.pick(["How can I help?", "What can I do for you?"]), pool.pick(["Wie kann ich helfen?", "Worum geht es?"]))
    about = say(de, f"{product}, order {order}.", f"{product}, Auftrag {order}.")
    doc.text = "\n".join([f"{agent}: {ask}", f"{customer}: {about} {doc.evidence}", f"{agent}: {say(de, 'What would you like?', 'Was wünschen Sie?')}", f"{customer}: {request}"])
    place(doc, "customer", customer, say(de, "the chat", "dem Chat"))
    place(doc, "order_no", order, say(de, "order", "Auftrag"))
    place(doc, "product", product, say(de, "the chat", "dem Chat"))


def place(doc, key, value, label):
    doc.fields[key] = Field(value, say(doc.language, f"in {label}", f"in {label}"), value)
