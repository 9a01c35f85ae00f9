import Primitives
import RESPWire
import Synchronization

/// The slowest recent commands, newest first (SLOWLOG). Any loop may note one.
public final class Slowlog: Sendable {
    public struct Entry: Sendable {
        public var id: Int64
        /// Unix seconds.
        public var at: Int64
        public var microseconds: Int64
        /// At most 32 words of at most 128 bytes, with a note of what was cut (Redis 7.0).
        public var words: [[UInt8]]
        public var client: String
        public var name: String
    }

    private struct State {
        var entries: [Entry] = []
        var nextID: Int64 = 0
    }

    private let state = Mutex(State())

    func note(
        microseconds: Int64, at: Int64, arguments: Arguments, secrets: Set<Int>, client: String,
        name: String, threshold: Int64, limit: Int
    ) {
        guard threshold >= 0, microseconds >= threshold, limit > 0 else { return }
        let words = Slowlog.trim(arguments, secrets)
        state.withLock { state in
            let entry = Entry(
                id: state.nextID, at: at, microseconds: microseconds, words: words, client: client,
                name: name)
            state.nextID += 1
            state.entries.insert(entry, at: 0)
            if state.entries.count > limit { state.entries.removeLast(state.entries.count - limit) }
        }
    }

    private static func trim(_ arguments: Arguments, _ secrets: Set<Int>) -> [[UInt8]] {
        let shown = arguments.count > 32 ? 31 : arguments.count
        var words = (0..<shown).map { i -> [UInt8] in
            if secrets.contains(i) { return Array("(redacted)".utf8) }
            let word = arguments[i]
            if word.count <= 128 { return word.array }
            return word[0..<128].array + Array("... (\(word.count - 128) more bytes)".utf8)
        }
        if shown < arguments.count {
            words.append(Array("... (\(arguments.count - shown) more arguments)".utf8))
        }
        return words
    }

    public var entries: [Entry] { state.withLock { $0.entries } }
    /// Keeps the newest `limit` (slowlog-max-len was lowered).
    func trim(to limit: Int) {
        state.withLock { state in
            if state.entries.count > limit { state.entries.removeLast(state.entries.count - limit) }
        }
    }

    public func reset() { state.withLock { $0.entries = [] } }
}
