import Primitives
import Testing

/// Method: tables of texts with the value redis-server 7.0.15 gives them or nil where it refuses,
/// and formatting compared with Swift's own.
@Suite struct DecimalTests {
    static let integers: [(String, Int64?)] = [
        ("0", 0), ("7", 7), ("-7", -7), ("10", 10), ("9223372036854775807", .max),
        ("-9223372036854775808", .min), ("9223372036854775808", nil),
        ("-9223372036854775809", nil), ("18446744073709551616", nil), ("", nil), ("-", nil),
        ("+7", nil), ("007", nil), ("00", nil), ("-0", nil), ("-07", nil), (" 7", nil),
        ("7 ", nil), ("7x", nil), ("x", nil), ("--7", nil), ("1.0", nil), ("1e3", nil),
        ("-99999999999999999999", nil), ("99999999999999999999", nil), ("7\0", nil),
        ("100000000000000000000000000000000000000000", nil),
    ]

    @Test(arguments: integers) func integerIsStrict(_ text: String, _ value: Int64?) {
        #expect(Array(text.utf8).withView { Decimal.int64($0) } == value)
    }

    @Test(arguments: [
        ("0", UInt64(0)), ("18446744073709551615", .max), ("18446744073709551616", nil),
        ("18446744073709551620", nil), ("20000000000000000000", nil), ("-1", nil), ("01", nil),
        ("9999999999999999999", 9_999_999_999_999_999_999),
    ] as [(String, UInt64?)]) func unsignedIsStrict(_ text: String, _ value: UInt64?) {
        #expect(Array(text.utf8).withView { Decimal.uint64($0) } == value)
    }

    @Test func integersAreWrittenAsSwiftWritesThem() {
        var random = Random(seed: 3)
        var values: [Int64] = [0, 9, 10, 99, 100, 999, 1000, 9999, 10_000, 99_999, .max, .min, -1]
        for _ in 0..<2000 { values.append(Int64(bitPattern: random.next() >> random.below(64))) }
        for value in values {
            withUnsafeTemporaryAllocation(byteCount: Decimal.integerBytesMax, alignment: 1) {
                let count = Decimal.write(value, to: $0.baseAddress!)
                let written = ByteView($0.baseAddress!, count)
                #expect(written.text == String(value))
                #expect(Decimal.int64(written) == value)
            }
        }
    }

    @Test(arguments: [
        ("1.5", 1.5), ("-1e3", -1000), ("inf", .infinity), ("-inf", -.infinity),
        ("+inf", .infinity), ("Infinity", .infinity), ("0x10", 16), (".5", 0.5), ("5.", 5),
        ("", nil), (" 1", nil), ("\t1", nil), ("1 ", nil), ("1x", nil), ("1\0", nil),
        ("1e400", nil), ("-1e400", nil), ("1e-400", nil), ("e5", nil), ("--1", nil),
    ] as [(String, Double?)]) func doubleIsWholeText(_ text: String, _ value: Double?) {
        #expect(Array(text.utf8).withView { Decimal.double($0) } == value)
    }

    @Test func nanIsParsedForTheCallerToRefuse() {
        #expect(Decimal.double(ByteView("nan"))?.isNaN == true)
        #expect(Decimal.longDouble(ByteView("nan")) == nil)
    }

    @Test(arguments: [
        (3.1, "3.1000000000000001"), (3, "3"), (-0.0, "-0"), (1e100, "1e+100"),
        (.infinity, "inf"), (-.infinity, "-inf"), (1.7976931348623157e308, "1.7976931348623157e+308"),
        (123456789012345680, "1.2345678901234568e+17"),
    ] as [(Double, String)]) func doubleIsWrittenWith17Digits(_ value: Double, _ text: String) {
        withUnsafeTemporaryAllocation(byteCount: Decimal.doubleBytesMax, alignment: 1) {
            let count = Decimal.write(value, to: $0.baseAddress!)
            #expect(ByteView($0.baseAddress!, count).text == text)
        }
    }

    /// Method: sums as INCRBYFLOAT makes them; the texts are redis-server 7.0.15's on x86-64.
    @Test(arguments: [
        ("10.5", "0.1", "10.6"), ("10.6", "5.0e3", "5010.60000000000000009"),
        ("3", "1.23456789012345678901", "4.23456789012345679"), ("-1e-20", "0", "0"),
        ("1", "-1", "0"), ("100", "200", "300"), ("0.1", "0.2", "0.3"),
    ]) func longDoublesAddAsInRedis(_ a: String, _ b: String, _ sum: String) throws {
        #if arch(x86_64)
        let x = try #require(Array(a.utf8).withView { Decimal.longDouble($0) })
        let y = try #require(Array(b.utf8).withView { Decimal.longDouble($0) })
        withUnsafeTemporaryAllocation(byteCount: Decimal.fixedBytesMax, alignment: 1) {
            let count = Decimal.writeFixed(x + y, to: $0.baseAddress!)
            #expect(ByteView($0.baseAddress!, count).text == sum)
        }
        #endif
    }
}
