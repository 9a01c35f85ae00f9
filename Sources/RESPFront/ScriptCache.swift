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

/// The scripts all loops know, by SHA-1. Any loop at any time: a lock guards it.
final class ScriptCache: Sendable {
    struct Script: Sendable {
        var body: [UInt8]
        var flags: ScriptFlags
        /// It runs while the world stands still: it uses commands that look beyond their keys, or it once met
        /// a key that was not declared and could not be had at once.
        var runsAlone: Bool
    }

    private struct State {
        var scripts: [String: Script] = [:]
        /// Counted up by SCRIPT FLUSH: what loops compiled before is forgotten.
        var epoch = 0
    }

    private let state = Mutex(State())

    func find(_ sha: String) -> Script? { state.withLock { $0.scripts[sha] } }
    func add(_ sha: String, _ script: Script) {
        state.withLock { if $0.scripts[sha] == nil { $0.scripts[sha] = script } }
    }
    func markAlone(_ sha: String) { state.withLock { $0.scripts[sha]?.runsAlone = true } }
    func flush() {
        state.withLock {
            $0.scripts = [:]
            $0.epoch += 1
        }
    }
    var epoch: Int { state.withLock { $0.epoch } }
    var count: Int { state.withLock { $0.scripts.count } }
    /// Bytes of their texts.
    var bytes: Int { state.withLock { $0.scripts.values.reduce(0) { $0 + $1.body.count + 100 } } }
}
