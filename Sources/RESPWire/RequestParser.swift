import Glibc
import Primitives

/// Finds the requests in a client's bytes: RESP arrays of bulk strings, and inline commands.
///
/// The caller owns the input and a `WordList`. It parses requests one after another into the same
/// list (a batch), takes their `Arguments` from the list, runs them, clears the list, and drops
/// the bytes up to the last request's end:
///
///     case .request(let first, let count, let end):  the words are in the list; go on from `end`
///     case .incomplete(let start, let missing):      drop the bytes before `start`, append at
///                                                    least `missing` more, go on from `start`
///     case .failure(let why):                        answer and close
///
/// An unfinished request is remembered relative to its start, so the input may move and the bytes
/// before it may go; only the bytes from `start` on must stay as they are. Its words wait inside
/// the parser until it is complete: 100,000 words that arrive in pieces are read once.
///
/// The input is mutable because quoted inline words are unescaped in place (they never grow).
/// As in Redis 7.0, the byte after a `\r` and the two bytes after a word are skipped unread.
public struct RequestParser: ~Copyable {
    @frozen public enum Outcome: Equatable, Sendable {
        /// `count` words from index `first` of the list; the next request starts at `end`.
        case request(first: Int, count: Int, end: Int)
        /// The unfinished request starts at `start` (or nothing is left, and `start` is the end of
        /// the input). `missing` is the least number of bytes still to come before parsing again
        /// can be of use: all of it when inside a word of known length, else 1.
        case incomplete(start: Int, missing: Int)
        case failure(ProtocolFailure)
    }

    public var limits: RequestLimits {
        didSet { checkLimits() }
    }
    /// False keeps requests to 10 words of 16 KiB, so that strangers cannot fill memory.
    public var isAuthenticated: Bool

    /// Whether a request has begun and not ended.
    private var isResuming = false
    /// Bytes of the unfinished request already understood.
    private var progress = 0
    /// Bytes of it already searched for the end of a line; at least `progress` while it matters.
    private var searched = 0
    /// Words of it still to come; -1 before its `*` line.
    private var wordsLeft = -1
    /// Length of the word that comes next; -1 before its `$` line.
    private var bulkLength = -1
    /// Its words, relative to its start.
    private var pending = WordList(capacity: 8)

    /// Words read and copied by the resumable path, for counters and the proof of linearity.
    public private(set) var steps: UInt64 = 0

    public init(limits: RequestLimits = RequestLimits(), isAuthenticated: Bool = true) {
        self.limits = limits
        self.isAuthenticated = isAuthenticated
        checkLimits()
    }

    /// Bytes held beside the input, for accounting.
    public var heldBytes: Int { pending.capacity * MemoryLayout<WordRange>.stride }

    /// Forgets an unfinished request, for a parser that serves another connection.
    public mutating func reset() {
        isResuming = false
        forgetRequest()
    }

    /// The next request of `input[start..<count]`. Cost: O(bytes of lines), never O(bytes of
    /// words); no allocation but the growth of the list. Units: bytes; `count` under 4 GiB.
    public mutating func parse(
        _ input: UnsafeMutableRawPointer, count: Int, from start: Int, into words: inout WordList
    ) -> Outcome {
        precondition(start >= 0 && start <= count && count <= UInt32.max, "input out of range")
        if !isResuming {
            let first = words.count
            let end = parseWhole(UnsafeRawPointer(input), count, start, &words)
            if end > 0 { return .request(first: first, count: words.count - first, end: end) }
        }
        return parseResumable(input, count, start, &words)
    }

    private func checkLimits() {
        precondition(limits.bulkBytes >= RequestLimits.unauthenticatedBulkBytes, "bulk limit")
        precondition(limits.requestBytes <= 0xfff0_0000, "word offsets are 32 bits")
    }
}

// The common case: a whole request of at most 99 words is in the input.
extension RequestParser {
    /// The request's end, or 0 if it is anything but whole, plain and within limits; then the
    /// resumable path looks at it from its start.
    @inline(__always)
    private func parseWhole(
        _ input: UnsafeRawPointer, _ count: Int, _ start: Int, _ words: inout WordList
    ) -> Int {
        guard count - start >= 10, byte(input, start) == UInt8(ascii: "*") else { return 0 }
        var wordCount = Int(byte(input, start + 1) &- 48)
        var cursor = start + 4
        guard wordCount &- 1 < 9, wordCount != 0 else { return 0 }
        let second = byte(input, start + 2)
        if second != RequestParser.cr {
            let digit = Int(second &- 48)
            guard digit < 10, byte(input, start + 3) == RequestParser.cr else { return 0 }
            wordCount = wordCount * 10 + digit
            cursor += 1
        }
        guard isAuthenticated || wordCount <= RequestLimits.unauthenticatedWords else { return 0 }
        let bulkLimit = bulkLimit
        let out = words.reserve(wordCount)
        for i in 0..<wordCount {
            guard cursor + 4 <= count, byte(input, cursor) == UInt8(ascii: "$") else { return 0 }
            var length = Int(byte(input, cursor + 1) &- 48)
            guard length < 10 else { return 0 }
            var at = cursor + 2
            var next = byte(input, at)
            if next != RequestParser.cr {
                guard length != 0 else { return 0 }
                repeat {
                    let digit = Int(next &- 48)
                    guard digit < 10, length < 1 << 40 else { return 0 }
                    length = length &* 10 &+ digit
                    at += 1
                    guard at < count else { return 0 }
                    next = byte(input, at)
                } while next != RequestParser.cr
                guard length <= bulkLimit else { return 0 }
            }
            at += 2
            guard at + length + 2 <= count else { return 0 }
            out[i] = WordRange(offset: UInt32(truncatingIfNeeded: at),
                               count: UInt32(truncatingIfNeeded: length))
            cursor = at + length + 2
        }
        words.count += wordCount
        return cursor
    }

    @inline(__always)
    private func byte(_ input: UnsafeRawPointer, _ at: Int) -> UInt8 {
        input.load(fromByteOffset: at, as: UInt8.self)
    }

    @inline(__always)
    private var bulkLimit: Int {
        isAuthenticated ? limits.bulkBytes : RequestLimits.unauthenticatedBulkBytes
    }

    private static let cr = UInt8(ascii: "\r")
    private static let lf = UInt8(ascii: "\n")
}

// The general case: any request, in any pieces.
extension RequestParser {
    /// What a search for the end of a line found.
    private enum Line {
        case ends(Int)
        case unfinished
        case tooLong
    }

    @inline(never)
    private mutating func parseResumable(
        _ input: UnsafeMutableRawPointer, _ count: Int, _ first: Int, _ words: inout WordList
    ) -> Outcome {
        var start = first
        // Requests without words (*0, *-1, an empty line) are skipped.
        while true {
            if wordsLeft >= 0 { return parseWords(input, count, start, &words) }
            guard start < count else {
                reset()
                return .incomplete(start: start, missing: 1)
            }
            guard byte(input, start) == UInt8(ascii: "*") else {
                let outcome = parseInline(input, count, start, &words)
                guard case .request(_, 0, let end) = outcome else { return outcome }
                start = end
                continue
            }
            if let stop = parseCount(input, count, start) { return stop }
            if wordsLeft <= 0 {
                start += progress
                reset()
            }
        }
    }

    /// Reads the `*` line at `start` into `wordsLeft`; nil when that is done.
    private mutating func parseCount(
        _ input: UnsafeRawPointer, _ count: Int, _ start: Int
    ) -> Outcome? {
        switch line(input, count, start, endingIn: RequestParser.cr) {
        case .tooLong: return .failure(.multibulkCountTooLong)
        case .unfinished: return .incomplete(start: start, missing: 1)
        case .ends(let end):
            let text = ByteView(input + start + 1, end - start - 1)
            guard let value = Decimal.int64(text), value <= RequestLimits.words else {
                return .failure(.invalidMultibulkLength)
            }
            guard isAuthenticated || value <= RequestLimits.unauthenticatedWords else {
                return .failure(.unauthenticatedMultibulkLength)
            }
            wordsLeft = max(0, Int(value))
            advance(to: end + 2 - start)
            return nil
        }
    }

    /// Reads words until the request is whole or the input ends.
    private mutating func parseWords(
        _ input: UnsafeRawPointer, _ count: Int, _ start: Int, _ words: inout WordList
    ) -> Outcome {
        isResuming = true
        while wordsLeft > 0 {
            if bulkLength < 0, let stop = parseLength(input, count, start) { return stop }
            let end = progress + bulkLength + 2
            guard end <= limits.requestBytes else { return .failure(.requestTooLarge) }
            guard end <= count - start else {
                return .incomplete(start: start, missing: end - (count - start))
            }
            pending.append(WordRange(offset: UInt32(progress), count: UInt32(bulkLength)))
            steps &+= 1
            bulkLength = -1
            wordsLeft -= 1
            advance(to: end)
        }
        let end = start + progress
        let first = words.count
        let out = words.reserve(pending.count)
        for i in 0..<pending.count {
            let word = pending[i]
            out[i] = WordRange(offset: word.offset + UInt32(start), count: word.count)
        }
        words.count += pending.count
        steps &+= UInt64(pending.count)
        reset()
        return .request(first: first, count: words.count - first, end: end)
    }

    /// Reads the next `$` line into `bulkLength`; nil when that is done.
    private mutating func parseLength(
        _ input: UnsafeRawPointer, _ count: Int, _ start: Int
    ) -> Outcome? {
        switch line(input, count, start, endingIn: RequestParser.cr) {
        case .tooLong: return .failure(.bulkCountTooLong)
        case .unfinished: return .incomplete(start: start, missing: 1)
        case .ends(let end):
            let at = start + progress
            let mark = byte(input, at)
            guard mark == UInt8(ascii: "$") else { return .failure(.expectedBulk(mark)) }
            guard let value = Decimal.int64(ByteView(input + at + 1, end - at - 1)), value >= 0,
                  value <= limits.bulkBytes
            else { return .failure(.invalidBulkLength) }
            guard value <= bulkLimit else { return .failure(.unauthenticatedBulkLength) }
            bulkLength = Int(value)
            advance(to: end + 2 - start)
            return nil
        }
    }

    /// Finds the end of the line that starts at `progress`; one byte must follow a `\r`. Bytes
    /// already searched are not searched again.
    private mutating func line(
        _ input: UnsafeRawPointer, _ count: Int, _ start: Int, endingIn mark: UInt8
    ) -> Line {
        isResuming = true
        let from = start + max(searched, progress)
        let follows = mark == RequestParser.cr ? 1 : 0
        if from < count, let found = memchr(input + from, Int32(mark), count - from) {
            let end = UnsafeRawPointer(found) - input
            searched = end - start
            return end + follows < count ? .ends(end) : .unfinished
        }
        searched = count - start
        return count - start - progress > RequestLimits.lineBytes ? .tooLong : .unfinished
    }

    private mutating func advance(to newProgress: Int) {
        progress = newProgress
        searched = newProgress
    }

    private mutating func forgetRequest() {
        advance(to: 0)
        wordsLeft = -1
        bulkLength = -1
        pending.removeAll()
        pending.shrink(to: 1024)
    }
}

// Inline commands: words on a line, for people with a terminal.
extension RequestParser {
    private mutating func parseInline(
        _ input: UnsafeMutableRawPointer, _ count: Int, _ start: Int, _ words: inout WordList
    ) -> Outcome {
        switch line(UnsafeRawPointer(input), count, start, endingIn: RequestParser.lf) {
        case .tooLong: return .failure(.inlineTooLong)
        case .unfinished: return .incomplete(start: start, missing: 1)
        case .ends(let newline):
            reset()
            var end = newline
            if end > start, byte(input, end - 1) == RequestParser.cr { end -= 1 }
            let first = words.count
            var line = InlineLine(input, from: start, to: end)
            while true {
                switch line.next() {
                case .word(let word): words.append(word)
                case .unbalanced: return .failure(.unbalancedQuotes)
                case .end:
                    return .request(first: first, count: words.count - first, end: newline + 1)
                }
            }
        }
    }
}
