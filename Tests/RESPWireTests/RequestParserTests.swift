import Primitives
import RESPWire
import Testing

/// Method: each vector is parsed whole, cut in two at every byte, and byte by byte; all must give
/// the result written beside it. The results and error texts were taken from redis-server 7.0.15.
@Suite struct RequestParserTests {
    struct Vector: Sendable, CustomTestStringConvertible {
        let bytes: String
        let requests: [[String]]
        var failure: ProtocolFailure?

        init(_ bytes: String, _ requests: [[String]], _ failure: ProtocolFailure? = nil) {
            self.bytes = bytes
            self.requests = requests
            self.failure = failure
        }

        var testDescription: String { bytes.debugDescription }
    }

    static let long = String(repeating: "x", count: 1234)

    static let good: [Vector] = [
        Vector("*1\r\n$4\r\nPING\r\n", [["PING"]]),
        Vector("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n",
               [["GET", "k"], ["GET", ""]]),
        Vector("*3\r\n$3\r\nSET\r\n$3\r\na\rb\r\n$4\r\n*1\r\n\r\n", [["SET", "a\rb", "*1\r\n"]]),
        Vector("*2\r\n$4\r\nECHO\r\n$1234\r\n\(long)\r\n", [["ECHO", long]]),
        Vector("*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\n*0\r\n", [["PING"]]),
        // The byte after \r, and the two after a word, are not looked at.
        Vector("*1\rX$4\rYPINGzz*1\r\n$1\r\na\r\n", [["PING"], ["a"]]),
        Vector("PING\r\n", [["PING"]]),
        Vector("PING\nGET k\n", [["PING"], ["GET", "k"]]),
        Vector("\r\n\n  \r\n  SET\t k  v \r\n", [["SET", "k", "v"]]),
        Vector("a\u{0b}b \u{0b}c\r\n", [["a\u{0b}b", "c"]]),
        Vector("a\rb\r\n", [["a", "b"]]),
        Vector("ECHO \"a\\x41\\n\\r\\t\\b\\a\\\"\\q\\xZ\"\r\n",
               [["ECHO", "aA\n\r\t\u{8}\u{7}\"qxZ"]]),
        Vector("ECHO 'a\\'b\\n'\r\n", [["ECHO", "a'b\\n"]]),
        Vector("ECHO a\"b c\" '' \"\"\r\n", [["ECHO", "ab c", "", ""]]),
        Vector("SET a \"\\x00\"\r\n*1\r\n$4\r\nPING\r\nPING\r\n",
               [["SET", "a", "\0"], ["PING"], ["PING"]]),
        Vector("*12\r\n" + String(repeating: "$1\r\nw\r\n", count: 12),
               [[String]](repeating: [String](repeating: "w", count: 12), count: 1)),
        Vector("*100\r\n" + String(repeating: "$2\r\nww\r\n", count: 100) + "PING\r\n",
               [[String](repeating: "ww", count: 100), ["PING"]]),
    ]

    static let bad: [Vector] = [
        Vector("*abc\r\n", [], .invalidMultibulkLength),
        Vector("*\r\n", [], .invalidMultibulkLength),
        Vector("*01\r\n", [], .invalidMultibulkLength),
        Vector("*+1\r\n", [], .invalidMultibulkLength),
        Vector("* 1\r\n", [], .invalidMultibulkLength),
        Vector("*-0\r\n", [], .invalidMultibulkLength),
        Vector("*2147483648\r\n", [], .invalidMultibulkLength),
        Vector("*9223372036854775808\r\n", [], .invalidMultibulkLength),
        Vector("*1\r\n:4\r\n", [], .expectedBulk(UInt8(ascii: ":"))),
        Vector("*2\r\n$1\r\na\r\nb\r\n", [], .expectedBulk(UInt8(ascii: "b"))),
        Vector("*1\r\n\r\n", [], .expectedBulk(13)),
        Vector("*1\r\n$-1\r\n", [], .invalidBulkLength),
        Vector("*1\r\n$+4\r\n", [], .invalidBulkLength),
        Vector("*1\r\n$04\r\nPING\r\n", [], .invalidBulkLength),
        Vector("*1\r\n$4x\r\nPING\r\n", [], .invalidBulkLength),
        Vector("*1\r\n$\r\n", [], .invalidBulkLength),
        Vector("*1\r\n$536870913\r\n", [], .invalidBulkLength),
        Vector("*1\r\n$99999999999999999999\r\n", [], .invalidBulkLength),
        Vector("PING\r\nECHO \"a\"b\r\n", [["PING"]], .unbalancedQuotes),
        Vector("ECHO \"a\r\n", [], .unbalancedQuotes),
        Vector("ECHO 'a\\'\r\n", [], .unbalancedQuotes),
        Vector("ECHO \"a\\\r\n", [], .unbalancedQuotes),
    ]

    @Test(arguments: good + bad) func vectorCutAtEveryByte(_ vector: Vector) {
        let bytes = Array(vector.bytes.utf8)
        let expected = Parsed(requests: vector.requests, failure: vector.failure)
        #expect(parse(bytes) == expected)
        for cut in 1..<bytes.count {
            #expect(parse(bytes, cutAt: [cut]) == expected, "cut at \(cut)")
        }
        #expect(parse(bytes, cutAt: Array(1..<bytes.count)) == expected, "byte by byte")
    }

    @Test func unauthenticatedClientsAreHeldShort() {
        func words(_ n: Int) -> [UInt8] {
            RequestWriter.bytes([String](repeating: "w", count: n))
        }
        func bulk(_ n: Int) -> [UInt8] { RequestWriter.bytes([String(repeating: "w", count: n)]) }
        #expect(parse(words(10), isAuthenticated: false).requests.count == 1)
        #expect(parse(words(11), isAuthenticated: false).failure
            == .unauthenticatedMultibulkLength)
        #expect(parse(words(100), isAuthenticated: false).failure
            == .unauthenticatedMultibulkLength)
        #expect(parse(bulk(16384), isAuthenticated: false).requests.count == 1)
        #expect(parse(bulk(16385), isAuthenticated: false).failure == .unauthenticatedBulkLength)
        #expect(parse(bulk(16385)).requests.count == 1)
    }

    @Test func linesWithoutEndAreHeldTo64KiB() {
        let limit = RequestLimits.lineBytes
        let ones = [UInt8](repeating: UInt8(ascii: "1"), count: limit + 1)
        #expect(parse(Array(ones[1...])).failure == nil)
        #expect(parse(ones).failure == .inlineTooLong)
        #expect(parse(Array("*".utf8) + ones[1...]).failure == .multibulkCountTooLong)
        #expect(parse(Array("*1\r\n$".utf8) + ones[1...]).failure == .bulkCountTooLong)
        #expect(parse(Array("*1\r\n$".utf8) + ones[2...]).failure == nil)
        // As in Redis, a line that arrives together with its end may be longer.
        #expect(parse(ones + [10]).requests.first?.first?.utf8.count == limit + 1)
    }

    @Test func limitsAreTheConfiguredOnes() {
        var limits = RequestLimits()
        limits.bulkBytes = 1 << 20
        limits.requestBytes = 3 << 20
        #expect(parse(Array("*1\r\n$1048576\r\n".utf8), limits: limits).failure == nil)
        #expect(parse(Array("*1\r\n$1048577\r\n".utf8), limits: limits).failure
            == .invalidBulkLength)
        let value = [UInt8](repeating: 7, count: 1 << 20)
        let large = RequestWriter.bytes([value, value, value])
        #expect(parse(Array(large[..<(3 << 20)]), limits: limits).failure == .requestTooLarge)
    }

    @Test func tellsHowManyBytesAreMissing() {
        var feed = RequestFeed()
        feed.feed(Array("*2\r\n$3\r\nSET\r\n$5000".utf8)[...])
        #expect(feed.missing == 1)
        feed.feed(Array("\r\nab".utf8)[...])
        #expect(feed.missing == 5000)
        feed.feed([UInt8](repeating: 97, count: 4999)[...])
        #expect(feed.missing == 1)
        feed.feed([UInt8](repeating: 97, count: 1)[...])
        #expect(feed.parsed.requests.count == 1)
        #expect(feed.input.isEmpty)
    }

    @Test func bytesBeforeTheUnfinishedRequestCanGo() {
        var feed = RequestFeed()
        feed.feed(Array("*0\r\nPING\r\n*0\r\n\r\n*2\r\n$1".utf8)[...])
        #expect(feed.input == Array("*2\r\n$1".utf8))
        feed.feed(Array("\r\na\r\n$1\r\nb\r\n".utf8)[...])
        #expect(feed.parsed.requests == [["PING"], ["a", "b"]])
    }

    /// Method: the parser counts words read and copied; the count for 100,000 words in pieces must
    /// be at most two a word and ten a piece's first look, however small the pieces.
    @Test(arguments: [1009, 16384]) func manyWordsInPiecesCostLinearWork(_ pieceBytes: Int) {
        let count = 100_000
        let bytes = RequestWriter.bytes((0..<count).map { "w\($0)" })
        var parser = RequestParser()
        var words = WordList()
        var outcome = RequestParser.Outcome.incomplete(start: 0, missing: 1)
        var input = bytes
        input.withUnsafeMutableBytes { memory in
            for end in stride(from: pieceBytes, to: bytes.count + pieceBytes, by: pieceBytes) {
                outcome = parser.parse(
                    memory.baseAddress!, count: min(end, bytes.count), from: 0, into: &words)
            }
        }
        #expect(outcome == .request(first: 0, count: count, end: bytes.count))
        #expect(parser.steps <= 2 * count)
        #expect(parser.steps >= count)
        #expect(words[count - 1].count == 6)
    }

    @Test func resetForgetsTheUnfinishedRequest() {
        var feed = RequestFeed()
        feed.feed(Array("*2\r\n$1\r\na\r\n$9".utf8)[...])
        feed.parser.reset()
        feed.input = []
        feed.feed(Array("PING\r\n".utf8)[...])
        #expect(feed.parsed == Parsed(requests: [["PING"]]))
    }

    /// Method: requests made of random words are cut at random places; what comes out is what
    /// went in.
    @Test func randomRequestsSurviveRandomCuts() {
        var random = Random(seed: 7)
        for _ in 0..<200 {
            var bytes: [UInt8] = []
            var expected = Parsed()
            for _ in 0..<random.below(20) {
                let words = (0..<(1 + random.below(120))).map { _ in
                    String(repeating: "\u{7}", count: Int(random.below(30)))
                }
                RequestWriter.write(words.map { Array($0.utf8) }, to: &bytes)
                expected.requests.append(words)
            }
            let cuts = (0..<random.below(10)).map { _ in
                Int(random.below(UInt64(bytes.count + 1)))
            }
            #expect(parse(bytes, cutAt: cuts.sorted()) == expected)
        }
    }
}
