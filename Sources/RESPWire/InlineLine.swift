import Primitives

/// One inline command's line, cut into words with shell-like quotes, each word unescaped where it
/// lies (a word never grows).
///
///     plain   ends at a space, tab, \r or \n; quotes may begin inside it
///     "…"     \n \r \t \b \a, \xHH, and \ before any other byte for that byte
///     '…'     only \' is an escape
///
/// A closing quote must be followed by white space or the end of the line.
/// Source: Redis 7.0 sds.c, sdssplitargs. One difference: a NUL is an ordinary byte here.
struct InlineLine {
    enum Part {
        case word(WordRange)
        case unbalanced
        case end
    }

    private let input: UnsafeMutableRawPointer
    private var at: Int
    private let end: Int

    init(_ input: UnsafeMutableRawPointer, from start: Int, to end: Int) {
        self.input = input
        self.at = start
        self.end = end
    }

    mutating func next() -> Part {
        while at < end, InlineLine.isSpace(self[at]) { at += 1 }
        guard at < end else { return .end }
        let start = at
        var out = at
        while at < end {
            let byte = self[at]
            at += 1
            switch byte {
            case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"), UInt8(ascii: "\n"):
                return word(start, out)
            case UInt8(ascii: "\""), UInt8(ascii: "'"):
                return copyQuoted(&out, quote: byte) ? word(start, out) : .unbalanced
            default:
                put(byte, &out)
            }
        }
        return word(start, out)
    }

    /// Unescapes up to the closing quote, which ends the word; false if the quotes do not balance.
    private mutating func copyQuoted(_ out: inout Int, quote: UInt8) -> Bool {
        while at < end {
            let byte = self[at]
            at += 1
            if byte == quote { return at == end || InlineLine.isSpace(self[at]) }
            guard byte == UInt8(ascii: "\\"), at < end else {
                put(byte, &out)
                continue
            }
            if quote == UInt8(ascii: "\"") {
                put(escaped(), &out)
            } else if self[at] == quote {
                at += 1
                put(quote, &out)
            } else {
                put(byte, &out)
            }
        }
        return false
    }

    /// The byte meant by the escape whose `\` has just been read.
    private mutating func escaped() -> UInt8 {
        let letter = self[at]
        at += 1
        switch letter {
        case UInt8(ascii: "n"): return 10
        case UInt8(ascii: "r"): return 13
        case UInt8(ascii: "t"): return 9
        case UInt8(ascii: "b"): return 8
        case UInt8(ascii: "a"): return 7
        case UInt8(ascii: "x") where at + 1 < end:
            guard let high = InlineLine.digit(self[at]), let low = InlineLine.digit(self[at + 1])
            else { return letter }
            at += 2
            return high << 4 | low
        default: return letter
        }
    }

    private subscript(index: Int) -> UInt8 {
        precondition(index < end, "read past the line")
        return input.load(fromByteOffset: index, as: UInt8.self)
    }

    private func put(_ byte: UInt8, _ out: inout Int) {
        precondition(out < at, "an unescaped word outgrew its text")
        input.storeBytes(of: byte, toByteOffset: out, as: UInt8.self)
        out += 1
    }

    private func word(_ start: Int, _ end: Int) -> Part {
        .word(WordRange(offset: UInt32(start), count: UInt32(end - start)))
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 32 || byte &- 9 < 5 }

    private static func digit(_ byte: UInt8) -> UInt8? {
        if byte &- 48 < 10 { return byte &- 48 }
        let letter = ByteView.lowercased(byte) &- 97
        return letter < 6 ? letter + 10 : nil
    }
}

/// A line cut into words as an inline request is.
public enum QuotedWords {
    /// The words, unescaped; nil when the quotes do not balance.
    public static func split(_ line: ByteView) -> [[UInt8]]? {
        var copy = line.array
        return copy.withUnsafeMutableBytes { bytes -> [[UInt8]]? in
            guard let base = bytes.baseAddress else { return [] }
            var reader = InlineLine(base, from: 0, to: bytes.count), words: [[UInt8]] = []
            while true {
                switch reader.next() {
                case .word(let range):
                    words.append(ByteView(base + Int(range.offset), Int(range.count)).array)
                case .unbalanced: return nil
                case .end: return words
                }
            }
        }
    }
}
