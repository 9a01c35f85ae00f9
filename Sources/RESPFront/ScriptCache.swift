import Primitives
import Synchronization

/// What a script's first line says of it, `#!lua flags=…`.
struct ScriptFlags: OptionSet, Sendable {
    let rawValue: UInt8
    static let noWrites = ScriptFlags(rawValue: 1)
    static let allowsNoMemory = ScriptFlags(rawValue: 2)
    /// There was a first line: what it does not allow is refused.
    static let declared = ScriptFlags(rawValue: 4)

    /// The flags and how many bytes the first line takes, without its line end. Errors: Redis 7.0's texts.
    static func read(_ body: ByteView) throws(ShebangError) -> (flags: ScriptFlags, skip: Int) {
        guard body.count >= 2, body[0..<2] == ByteView("#!") else { return ([], 0) }
        guard let end = (0..<body.count).first(where: { body[$0] == 10 }) else {
            throw ShebangError(text: "Invalid script shebang")
        }
        let words = body[0..<end].text.split(separator: " ").map(String.init)
        guard words.first == "#!lua" else {
            throw ShebangError(text: "Unexpected engine in script shebang: \(words.first ?? "")")
        }
        var flags: ScriptFlags = .declared
        for word in words.dropFirst() {
            guard word.hasPrefix("flags=") else {
                throw ShebangError(text: "Unknown lua shebang option: \(word)")
            }
            for flag in word.dropFirst(6).split(separator: ",") {
                switch flag {
                case "no-writes": flags.insert(.noWrites)
                case "allow-oom": flags.insert(.allowsNoMemory)
                case "allow-stale", "no-cluster", "allow-cross-slot-keys": continue
                default: throw ShebangError(text: "Unexpected flag in script shebang: \(flag)")
                }
            }
        }
        return (flags, end)
    }
}

struct ShebangError: Error {
    var text: String
}

/// Something to run: a script, or a function of a library. Any loop at any time.
final class Script: Sendable {
    enum Code: Sendable {
        /// The whole text and how much of it the first line takes.
        case text([UInt8], skip: Int)
        case function(of: Library)
    }

    /// What compiled code is kept by: a library's for all of its functions.
    let id: Int
    /// A script's SHA-1, a function's name; with a zero at the end.
    let name: [UInt8]
    let code: Code
    let flags: ScriptFlags
    private let alone: Atomic<Bool>

    init(id: Int, name: String, code: Code, flags: ScriptFlags, runsAlone: Bool) {
        self.id = id
        self.name = Array(name.utf8) + [0]
        self.code = code
        self.flags = flags
        alone = Atomic(runsAlone)
    }

    var isFunction: Bool { if case .function = code { true } else { false } }
    var shownName: String { String(decoding: name.dropLast(), as: UTF8.self) }

    /// It runs while the world stands still: it uses commands that look beyond their keys, or it once met
    /// a key that was not declared and could not be had at once.
    var runsAlone: Bool { alone.load(ordering: .relaxed) }
    func markAlone() { alone.store(true, ordering: .relaxed) }

    private static let ids = Atomic<Int>(0)
    static func nextID() -> Int { ids.add(1, ordering: .relaxed).newValue }
}

/// The scripts all loops know, by SHA-1. Any loop at any time: a lock guards it.
final class ScriptCache: Sendable {
    private let scripts = Mutex([String: Script]())
    private let epochWord = Atomic<Int>(0)

    /// Counted up by SCRIPT FLUSH: what loops compiled before is forgotten.
    var epoch: Int { epochWord.load(ordering: .acquiring) }

    func find(_ sha: String) -> Script? { scripts.withLock { $0[sha] } }

    /// Makes a script known; returns the one of its text that all loops use.
    func add(_ sha: String, _ script: Script) -> Script {
        scripts.withLock { scripts in
            if let known = scripts[sha] { return known }
            scripts[sha] = script
            return script
        }
    }

    func flush() {
        scripts.withLock { $0 = [:] }
        epochWord.add(1, ordering: .acquiringAndReleasing)
    }

    var count: Int { scripts.withLock { $0.count } }
    /// Bytes of their texts and what keeping them takes.
    var bytes: Int {
        scripts.withLock { scripts in
            scripts.values.reduce(0) { sum, script in
                guard case .text(let body, _) = script.code else { return sum }
                return sum + body.count + 200
            }
        }
    }
}
