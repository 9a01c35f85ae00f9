import TieredStore

/// Which files the append-only file consists of.
///
/// Shape:  lines "file NAME seq NUMBER type b|h|i [from SEQUENCE]": one base at most, then what was
///         appended since, in order; `h`: no longer needed. Names with blanks are quoted as in redis.conf.
///         `from`, of files of tierd's, is the sequence of the first commit.
///         A base whose name ends in ".ckpt" is a checkpoint, which refers to the tier file; others are RDB
///         files. A remark "# left" says that a server went on without the files.
/// Source: Redis 7.0 aof.c, "AOF Manifest file implementation"; keys it does not know are passed over there.
public struct AOFManifest: Equatable, Sendable {
    public enum Kind: Character, Sendable { case base = "b", history = "h", increment = "i" }

    public struct Part: Equatable, Sendable {
        public var name: String
        public var number: Int
        public var kind: Kind
        public var first: UInt64?
    }

    public var parts: [Part] = []
    /// A server went on without the files: what they tell is of the past.
    public var isLeft = false

    private static let left = Array("# left".utf8)
    static let checkpointSuffix = ".ckpt"

    /// The base's name, if it is a checkpoint.
    public var checkpoint: String? {
        base.flatMap { $0.name.hasSuffix(AOFManifest.checkpointSuffix) ? $0.name : nil }
    }

    /// tierd wrote it, not Redis.
    public var isOwn: Bool { checkpoint != nil || parts.contains { $0.first != nil } }

    public var base: Part? { parts.first { $0.kind == .base } }
    public var increments: [Part] { parts.filter { $0.kind == .increment } }
    var nextBase: Int { (parts.filter { $0.kind != .increment }.map(\.number).max() ?? 0) + 1 }
    var nextIncrement: Int { (parts.filter { $0.kind != .base }.map(\.number).max() ?? 0) + 1 }

    init(parts: [Part] = []) { self.parts = parts }

    /// Why a manifest cannot be read.
    public struct Failure: Error, Equatable { public let line: Int }

    public init(_ bytes: [UInt8]) throws(Failure) {
        for (i, line) in bytes.split(separator: 10, omittingEmptySubsequences: false).enumerated() {
            if Array(line) == AOFManifest.left { isLeft = true }
            if line.isEmpty || line.first == UInt8(ascii: "#") { continue }
            guard let words = ConfigurationLine.words(Array(line)), let part = AOFManifest.part(words)
            else { throw Failure(line: i + 1) }
            let isSecondBase = part.kind == .base && base != nil
            let isOutOfOrder = part.kind == .increment && part.number <= increments.last?.number ?? 0
            if isSecondBase || isOutOfOrder { throw Failure(line: i + 1) }
            parts.append(part)
        }
        if parts.isEmpty { throw Failure(line: 1) }
    }

    private static func part(_ words: [[UInt8]]) -> Part? {
        let words = words.map { String(decoding: $0, as: UTF8.self) }
        guard words.count >= 6, words.count % 2 == 0 else { return nil }
        var values: [String: String] = [:]
        for i in stride(from: 0, to: words.count, by: 2) { values[words[i].lowercased()] = words[i + 1] }
        guard let name = values["file"], !name.isEmpty, !name.contains("/"),
            let number = values["seq"].flatMap({ Int($0) }), number > 0,
            let letter = values["type"], letter.count == 1, let kind = Kind(rawValue: letter.first!)
        else { return nil }
        return Part(name: name, number: number, kind: kind, first: values["from"].flatMap { UInt64($0) })
    }

    var bytes: [UInt8] {
        var text: [UInt8] = []
        for part in parts {
            text += Array("file ".utf8) + ConfigurationLine.quoted(Array(part.name.utf8))
            text += Array(" seq \(part.number) type \(part.kind.rawValue)".utf8)
            if let first = part.first { text += Array(" from \(first)".utf8) }
            text.append(10)
        }
        if isLeft { text += AOFManifest.left + [10] }
        return text
    }
}
