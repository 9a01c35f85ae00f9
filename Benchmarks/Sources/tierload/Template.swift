/// One command of the mix: words with places for what differs from request to request.
///
/// Shape: words separated by blanks or in quotes. In a word `{key}` is the key's number in twelve digits,
/// `{seq}` the number of the request in twelve digits, `{int:N}` a number from 0 to N - 1, `{same}` the last
/// of those once more; `{value}` is a word by itself: the key's value.
struct Template: Sendable {
    enum Piece: Sendable {
        case text([UInt8])
        case key
        case sequence
        case random(Int)
        case same
        case value
    }

    let text: String
    let share: Double
    private(set) var words: [[Piece]] = []
    /// Whether the reply is the key's value or nothing.
    private(set) var readsValue = false
    /// Whether the command stores the key's value.
    private(set) var writesValue = false

    /// "SET key:{key} {value}". Returns nothing if the text makes no sense.
    init?(_ text: String, share: Double) {
        self.text = text
        self.share = share
        let split = Template.split(text)
        for word in split {
            guard let pieces = Template.pieces(of: word) else { return nil }
            words.append(pieces)
        }
        guard let name = split.first?.uppercased() else { return nil }
        readsValue =
            name == "GET" && words.count == 2
            && words[1].contains { if case .key = $0 { true } else { false } }
        writesValue = words.contains { $0.contains { if case .value = $0 { true } else { false } } }
    }

    /// Words; what stands between two `"` is one.
    private static func split(_ text: String) -> [Substring] {
        text.split(separator: "\"", omittingEmptySubsequences: false).enumerated().flatMap { index, part in
            index % 2 == 1 ? [part] : part.split(separator: " ")
        }
    }

    private static func pieces(of word: Substring) -> [Piece]? {
        var pieces: [Piece] = [], rest = word
        while let open = rest.firstIndex(of: "{") {
            guard let close = rest[open...].firstIndex(of: "}") else { return nil }
            if open > rest.startIndex { pieces.append(.text(Array(rest[..<open].utf8))) }
            let name = rest[rest.index(after: open)..<close]
            switch name {
            case "key": pieces.append(.key)
            case "seq": pieces.append(.sequence)
            case "same": pieces.append(.same)
            case "value":
                guard word == "{value}" else { return nil }
                pieces.append(.value)
            default:
                guard name.hasPrefix("int:"), let bound = Int(name.dropFirst(4)), bound > 0 else {
                    return nil
                }
                pieces.append(.random(bound))
            }
            rest = rest[rest.index(after: close)...]
        }
        if !rest.isEmpty { pieces.append(.text(Array(rest.utf8))) }
        return pieces
    }

    /// "GET key:{key}; 0.2 SET key:{key} {value}": commands with their shares, 1 each unless said.
    static func mix(_ text: String) -> [Template]? {
        var templates: [Template] = []
        for part in text.split(separator: ";") {
            let words = part.split(separator: " ", maxSplits: 1)
            let share = words.count == 2 ? Double(words[0]) : nil
            guard share ?? 1 > 0,
                let template = Template(share == nil ? String(part) : String(words[1]), share: share ?? 1)
            else { return nil }
            templates.append(template)
        }
        return templates.isEmpty ? nil : templates
    }
}
