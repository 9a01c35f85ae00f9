import Primitives
import RESPWire
import Testing

/// Method: each kind is written and compared with its bytes in the specification and in
/// redis-server 7.0.15, then read back, whole, cut at every byte, and byte by byte.
@Suite struct ReplyTests {
    struct Vector: Sendable, CustomTestStringConvertible {
        let name: String
        let resp2: String
        let resp3: String
        /// What a client reads from `resp3`.
        let reply: Reply
        let write: @Sendable (ReplyWriter) -> Void

        init(_ resp2: String, _ resp3: String, _ reply: Reply,
             _ write: @escaping @Sendable (ReplyWriter) -> Void) {
            name = resp3
            self.resp2 = resp2
            self.resp3 = resp3
            self.reply = reply
            self.write = write
        }

        var testDescription: String { name.debugDescription }
    }

    static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
    static let one = Reply.integer(1)
    static let a = Reply.bulk([97])

    static let vectors: [Vector] = [
        Vector("+OK\r\n", "+OK\r\n", .simple(bytes("OK"))) { $0.ok() },
        Vector("+QUEUED\r\n", "+QUEUED\r\n", .simple(bytes("QUEUED"))) { $0.simple("QUEUED") },
        Vector("-ERR no\r\n", "-ERR no\r\n", .error(bytes("ERR no"))) { $0.error("ERR no") },
        Vector("-ERR a  b\r\n", "-ERR a  b\r\n", .error(bytes("ERR a  b"))) {
            $0.error("ERR a\r\nb")
        },
        Vector("-ERR x 'a b'\r\n", "-ERR x 'a b'\r\n", .error(bytes("ERR x 'a b'"))) {
            $0.error("ERR x '", ByteView("a\nb"), "'")
        },
        Vector("$-1\r\n", "_\r\n", .null) { $0.null() },
        Vector("*-1\r\n", "_\r\n", .null) { $0.nullArray() },
        Vector("*2\r\n:1\r\n$1\r\na\r\n", "*2\r\n:1\r\n$1\r\na\r\n", .array([one, a])) {
            $0.array(2)
            $0.integer(Int64(1))
            $0.bulk("a")
        },
        Vector("*2\r\n$1\r\na\r\n:1\r\n", "%1\r\n$1\r\na\r\n:1\r\n", .map([.init(a, one)])) {
            $0.map(1)
            $0.bulk("a")
            $0.integer(Int64(1))
        },
        Vector("*1\r\n:1\r\n", "~1\r\n:1\r\n", .set([one])) {
            $0.set(1)
            $0.integer(Int64(1))
        },
        Vector("*1\r\n:1\r\n", ">1\r\n:1\r\n", .push([one])) {
            $0.push(1)
            $0.integer(Int64(1))
        },
        Vector("*0\r\n", "%0\r\n", .map([])) { $0.map(0) },
        Vector("$18\r\n3.1000000000000001\r\n", ",3.1000000000000001\r\n", .double(3.1)) {
            $0.double(3.1)
        },
        Vector("$6\r\n1e+100\r\n", ",1e+100\r\n", .double(1e100)) { $0.double(1e100) },
        Vector("$4\r\n-inf\r\n", ",-inf\r\n", .double(-.infinity)) { $0.double(-.infinity) },
        Vector("$4\r\n10.6\r\n", "$4\r\n10.6\r\n", .bulk(bytes("10.6"))) {
            $0.longDouble(Decimal.longDouble(ByteView("10.6"))!)
        },
        Vector(":1\r\n", "#t\r\n", .boolean(true)) { $0.boolean(true) },
        Vector(":0\r\n", "#f\r\n", .boolean(false)) { $0.boolean(false) },
        Vector("$3\r\n-12\r\n", "(-12\r\n", .bigNumber(bytes("-12"))) {
            $0.bigNumber(ByteView("-12"))
        },
        Vector("$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n", .verbatim(bytes("txt"), bytes("hi"))) {
            $0.verbatim("txt", ByteView("hi"))
        },
        Vector("$2\r\n-5\r\n", "$2\r\n-5\r\n", .bulk(bytes("-5"))) { $0.bulk(Int64(-5)) },
    ]

    static func written(_ version: ReplyWriter.Version, _ body: (ReplyWriter) -> Void) -> [UInt8] {
        let buffer = ReplyBuffer()
        body(ReplyWriter(buffer, version: version))
        return buffer.view.array
    }

    static func read(_ bytes: [UInt8], cutAt cuts: [Int]) throws -> [Reply] {
        var parser = ReplyParser()
        var replies: [Reply] = []
        var from = 0
        for cut in cuts + [bytes.count] {
            parser.append(Array(bytes[from..<cut]))
            while let reply = try parser.next() { replies.append(reply) }
            from = cut
        }
        #expect(parser.bufferedBytes == 0)
        return replies
    }

    static func expectReads(_ bytes: [UInt8], _ replies: [Reply]) throws {
        #expect(try read(bytes, cutAt: []) == replies)
        for cut in 1..<bytes.count {
            #expect(try read(bytes, cutAt: [cut]) == replies, "cut at \(cut)")
        }
        #expect(try read(bytes, cutAt: Array(1..<bytes.count)) == replies, "byte by byte")
    }

    @Test(arguments: vectors) func kindIsWrittenAndReadBack(_ vector: Vector) throws {
        #expect(Self.written(.resp2, vector.write) == Self.bytes(vector.resp2))
        let resp3 = Self.written(.resp3, vector.write)
        #expect(resp3 == Self.bytes(vector.resp3))
        try Self.expectReads(resp3, [vector.reply])
    }

    @Test func wholePipelineIsReadInOrder() throws {
        var all: [UInt8] = []
        for vector in Self.vectors { all += Self.bytes(vector.resp3) }
        try Self.expectReads(all, Self.vectors.map(\.reply))
    }

    @Test func kindsOnlyOtherServersSendAreRead() throws {
        try Self.expectReads(Self.bytes("!5\r\nERR\r\n\r\n*-1\r\n"),
                             [.bulkError(Self.bytes("ERR\r\n")), .nullArray])
        try Self.expectReads(Self.bytes("|1\r\n$1\r\na\r\n:1\r\n*2\r\n*0\r\n|0\r\n:1\r\n"), [
            .attributed([.init(Self.a, Self.one)],
                        .array([.array([]), .attributed([], Self.one)])),
        ])
    }

    @Test func attributesPrecedeTheirReply() throws {
        let bytes = Self.written(.resp3) {
            $0.attribute(1)
            $0.bulk("a")
            $0.integer(Int64(1))
            $0.ok()
        }
        let ok = Reply.simple(Self.bytes("OK"))
        try Self.expectReads(bytes, [.attributed([.init(Self.a, Self.one)], ok)])
    }

    @Test func bulkHeadersOfEveryLengthAreRead() throws {
        let sizes = Array(0...1100) + [9_999, 10_000, 65_535, 100_000]
        var expected: [Reply] = []
        let buffer = ReplyBuffer(capacity: 1)
        let writer = ReplyWriter(buffer)
        for size in sizes {
            let value = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
            value.withView { writer.bulk($0) }
            expected.append(.bulk(value))
        }
        #expect(try Self.read(buffer.view.array, cutAt: []) == expected)
    }

    @Test func integersOfEveryWidthAreRead() throws {
        var values: [Int64] = [.min, .max, 0, -1]
        var power: Int64 = 1
        for _ in 0..<18 {
            power *= 10
            values += [power, power - 1, -power, 1 - power]
        }
        let bytes = Self.written(.resp2) { writer in values.forEach { writer.integer($0) } }
        #expect(try Self.read(bytes, cutAt: []) == values.map { .integer($0) })
        #expect(bytes.starts(with: Self.bytes(":-9223372036854775808\r\n")))
    }

    @Test func headersCanComeLate() {
        let bytes = Self.written(.resp3) {
            $0.ok()
            let mark = $0.mark
            for i in 0..<12 { $0.integer(i) }
            $0.set(12, at: mark)
            let map = $0.mark
            $0.map(0, at: map)
            $0.error("ERR gone")
            $0.rollBack(to: map)
        }
        let digits = (0..<12).map { ":\($0)\r\n" }.joined()
        #expect(bytes == Self.bytes("+OK\r\n~12\r\n" + digits))
    }

    @Test(arguments: [
        (ProtocolFailure.expectedBulk(UInt8(ascii: "x")), "expected '$', got 'x'"),
        (.expectedBulk(13), "expected '$', got ' '"),
        (.invalidMultibulkLength, "invalid multibulk length"),
        (.unauthenticatedMultibulkLength, "unauthenticated multibulk length"),
        (.invalidBulkLength, "invalid bulk length"),
        (.unauthenticatedBulkLength, "unauthenticated bulk length"),
        (.multibulkCountTooLong, "too big mbulk count string"),
        (.bulkCountTooLong, "too big bulk count string"),
        (.inlineTooLong, "too big inline request"),
        (.unbalancedQuotes, "unbalanced quotes in request"),
    ]) func failureHasRedisText(_ why: ProtocolFailure, _ text: String) {
        #expect(Self.written(.resp2) { $0.failure(why) }
            == Self.bytes("-ERR Protocol error: \(text)\r\n"))
    }

    @Test(arguments: [
        ("?\r\n", ReplyParser.Failure.unknownKind(UInt8(ascii: "?"))), ("\r\n", .malformed),
        (":1x\r\n", .malformed), (":\r\n", .malformed), ("+a\rb", .malformed),
        ("+a\n", .malformed), ("$-2\r\n", .malformed), ("$?\r\n", .malformed),
        ("$1\r\nabc", .malformed), ("$536870913\r\n", .tooLong), ("*-2\r\n", .malformed),
        ("*1073741824\r\n", .malformed), ("%-1\r\n", .malformed), ("#x\r\n", .malformed),
        ("_x\r\n", .malformed), (",1.5x\r\n", .malformed), ("(12a\r\n", .malformed),
        ("(\r\n", .malformed), ("=3\r\ntxt\r\n", .malformed), ("=-1\r\n", .malformed),
    ]) func malformedIsRefused(_ text: String, _ why: ReplyParser.Failure) {
        #expect(throws: why) { try Self.read(Self.bytes(text), cutAt: []) }
        let everywhere = Array(1..<text.utf8.count)
        #expect(throws: why) { try Self.read(Self.bytes(text), cutAt: everywhere) }
    }

    @Test func depthIsLimited() throws {
        func nested(_ depth: Int) -> [UInt8] {
            Self.bytes(String(repeating: "*1\r\n", count: depth) + ":1\r\n")
        }
        #expect(try Self.read(nested(ReplyParser.depthMax), cutAt: []).count == 1)
        #expect(throws: ReplyParser.Failure.tooDeep) {
            try Self.read(nested(ReplyParser.depthMax + 1), cutAt: [])
        }
        #expect(throws: ReplyParser.Failure.tooDeep) {
            try Self.read(nested(100_000), cutAt: [])
        }
    }
}
