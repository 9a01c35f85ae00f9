/// Writes requests in one of the protocols.
struct Encoder: Sendable {
    enum Format: String, CaseIterable, Sendable {
        case resp, inline, memcached
    }

    /// What differs from request to request.
    struct Fields {
        var key: Int
        var size: Int
        var sequence: Int
    }

    let format: Format
    let template: Template
    private let head: [UInt8]
    /// Whether each word has one length, so that it can be written with its text.
    private let texts: [[UInt8]]

    init(_ template: Template, _ format: Format) {
        self.template = template
        self.format = format
        head = format == .resp ? Array("*\(template.words.count)\r\n".utf8) : []
        texts = template.words.map { word in
            guard format == .resp, let length = Encoder.fixedLength(word) else { return [] }
            return Array("$\(length)\r\n".utf8)
        }
    }

    private static func fixedLength(_ word: [Template.Piece]) -> Int? {
        var length = 0
        for piece in word {
            switch piece {
            case .text(let bytes): length += bytes.count
            case .key, .sequence: length += 12
            case .random, .same, .value: return nil
            }
        }
        return length
    }

    /// Room a request takes at most.
    func room(_ size: Int) -> Int {
        template.words.reduce(64 + size) { sum, word in
            word.reduce(sum + 32) { if case .text(let bytes) = $1 { $0 + bytes.count } else { $0 + 24 } }
        }
    }

    /// Appends a request; the place behind it.
    func encode(
        _ fields: Fields, _ random: inout Generator, to start: UnsafeMutableRawPointer
    ) -> UnsafeMutableRawPointer {
        var out = Output(at: start)
        if format == .memcached {
            memcached(fields, &out)
            return out.at
        }
        out.put(head)
        var last = 0
        for (index, word) in template.words.enumerated() {
            if case .value = word[0] {
                if format == .resp { out.put(length: fields.size) }
                out.put(content: fields)
            } else if texts[index].isEmpty, format == .resp {
                out.putMeasured(word, fields, &random, &last)
            } else {
                out.put(texts[index])
                out.put(word, fields, &random, &last)
            }
            if format == .resp {
                out.put(13, 10)
            } else if index + 1 < template.words.count {
                out.put(32)
            }
        }
        if format == .inline { out.put(13, 10) }
        return out.at
    }

    /// "get key" or "set key 0 0 length" and the value.
    private func memcached(_ fields: Fields, _ out: inout Output) {
        var none = Generator(state: 0), last = 0
        out.put(template.writesValue ? Encoder.set : Encoder.get)
        out.put(template.words[1], fields, &none, &last)
        if template.writesValue {
            out.put(Encoder.flags)
            out.put(decimal: fields.size)
            out.put(13, 10)
            out.put(content: fields)
        }
        out.put(13, 10)
    }

    private static let get = Array("get ".utf8), set = Array("set ".utf8), flags = Array(" 0 0 ".utf8)
}

/// A place requests are written to.
private struct Output {
    var at: UnsafeMutableRawPointer

    mutating func put(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { at.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
        at += bytes.count
    }

    mutating func put(_ bytes: UInt8...) {
        for byte in bytes { put(byte: byte) }
    }

    private mutating func put(byte: UInt8) {
        at.storeBytes(of: byte, as: UInt8.self)
        at += 1
    }

    mutating func put(padded number: Int) {
        var rest = number
        for place in stride(from: 11, through: 0, by: -1) {
            at.storeBytes(of: UInt8(48 + rest % 10), toByteOffset: place, as: UInt8.self)
            rest /= 10
        }
        at += 12
    }

    mutating func put(decimal number: Int) {
        var digits = 1, power = 10
        while number >= power {
            digits += 1
            power *= 10
        }
        var rest = number
        for place in stride(from: digits - 1, through: 0, by: -1) {
            at.storeBytes(of: UInt8(48 + rest % 10), toByteOffset: place, as: UInt8.self)
            rest /= 10
        }
        at += digits
    }

    mutating func put(length: Int) {
        put(byte: 36)
        put(decimal: length)
        put(byte: 13)
        put(byte: 10)
    }

    mutating func put(content fields: Encoder.Fields) {
        Content.fill(at, key: fields.key, size: fields.size)
        at += fields.size
    }

    mutating func put(
        _ word: [Template.Piece], _ fields: Encoder.Fields, _ random: inout Generator, _ last: inout Int
    ) {
        for piece in word {
            switch piece {
            case .text(let bytes): put(bytes)
            case .key: put(padded: fields.key)
            case .sequence: put(padded: fields.sequence)
            case .random(let bound):
                last = random.below(bound)
                put(decimal: last)
            case .same: put(decimal: last)
            case .value: put(content: fields)
            }
        }
    }

    /// A word whose length is known only when it is written: its head is put before it afterwards.
    mutating func putMeasured(
        _ word: [Template.Piece], _ fields: Encoder.Fields, _ random: inout Generator, _ last: inout Int
    ) {
        let head = at, gap = 8
        at += gap
        put(word, fields, &random, &last)
        let length = at - head - gap
        at = head
        put(length: length)
        at.copyMemory(from: head + gap, byteCount: length)
        at += length
    }
}
