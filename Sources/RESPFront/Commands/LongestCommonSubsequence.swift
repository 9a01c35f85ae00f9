import Primitives
import RESPWire
import TieredStore

/// LCS: the longest common subsequence of two strings, by the textbook table of lengths.
enum LongestCommonSubsequence {
    private struct Options {
        var wantsLength = false
        var wantsRanges = false
        var wantsMatchLengths = false
        var minimum: Int64 = 0
    }

    private static func options(_ call: Call) throws(CommandError) -> Options {
        var options = Options()
        var i = 3
        while i < call.wordCount {
            let word = call.arguments[i]
            if word.matches("idx") {
                options.wantsRanges = true
            } else if word.matches("len") {
                options.wantsLength = true
            } else if word.matches("withmatchlen") {
                options.wantsMatchLengths = true
            } else if word.matches("minmatchlen"), i + 1 < call.wordCount {
                options.minimum = max(0, try RESPFront.Options.integer(call.arguments[i + 1]))
                i += 1
            } else {
                throw .syntax
            }
            i += 1
        }
        if options.wantsRanges && options.wantsLength {
            throw .message(
                "ERR If you want both the length and indexes, please just use IDX.")
        }
        return options
    }

    /// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN] → the subsequence, its length, or
    /// the matching ranges.
    static func lcs(_ call: Call) throws(CommandError) {
        for i in 0..<2 {
            if let type = call.keys.type(i), type != .string {
                throw .message("ERR The specified keys must contain string values")
            }
        }
        let options = try options(call)
        let a = try call.keys.string(0) ?? .empty, b = try call.keys.string(1) ?? .empty
        let cells = (a.count + 1).multipliedReportingOverflow(by: b.count + 1)
        if cells.overflow || cells.partialValue > Int(UInt32.max)
            || cells.partialValue * 4 > call.configuration.requestLimits.bulkBytes {
            throw .message(
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
        }
        let table = lengths(a, b, cells.partialValue)
        defer { table.deallocate() }
        if options.wantsLength { return call.reply.integer(Int(table[cells.partialValue - 1])) }
        answer(call, a, b, table, options)
    }

    private static func lengths(_ a: ByteView, _ b: ByteView, _ cells: Int) -> UnsafeMutablePointer<UInt32> {
        let table = UnsafeMutablePointer<UInt32>.allocate(capacity: cells)
        let width = b.count + 1
        for j in 0...b.count { table[j] = 0 }
        for i in 0..<a.count {
            table[(i + 1) * width] = 0
            for j in 0..<b.count {
                let at = (i + 1) * width + j + 1
                table[at] = a[i] == b[j]
                    ? table[at - width - 1] + 1 : max(table[at - width], table[at - 1])
            }
        }
        return table
    }

    /// Walks the table back from its end, gathering the subsequence and its ranges, last first.
    private static func answer(
        _ call: Call, _ a: ByteView, _ b: ByteView, _ table: UnsafeMutablePointer<UInt32>, _ options: Options
    ) {
        let width = b.count + 1
        let total = Int(table[a.count * width + b.count])
        var result = [UInt8](repeating: 0, count: total), left = total
        var ranges: [(aStart: Int, aEnd: Int, bStart: Int, bEnd: Int)] = []
        var i = a.count, j = b.count
        var range: (aStart: Int, aEnd: Int, bStart: Int, bEnd: Int)?
        func emit() {
            if let done = range, Int64(done.aEnd - done.aStart + 1) >= options.minimum { ranges.append(done) }
            range = nil
        }
        while i > 0, j > 0, left > 0 || range != nil {
            if a[i - 1] == b[j - 1] {
                left -= 1
                result[left] = a[i - 1]
                if let open = range, open.aStart == i, open.bStart == j {
                    range = (i - 1, open.aEnd, j - 1, open.bEnd)
                } else {
                    emit()
                    range = (i - 1, i - 1, j - 1, j - 1)
                }
                i -= 1
                j -= 1
            } else {
                if table[(i - 1) * width + j] > table[i * width + j - 1] { i -= 1 } else { j -= 1 }
            }
        }
        emit()
        guard options.wantsRanges else { return result.withView { call.reply.bulk($0) } }
        write(call, ranges, total, options)
    }

    private static func write(
        _ call: Call, _ ranges: [(aStart: Int, aEnd: Int, bStart: Int, bEnd: Int)], _ total: Int,
        _ options: Options
    ) {
        call.reply.map(2)
        call.reply.bulk("matches")
        call.reply.array(ranges.count)
        for range in ranges {
            call.reply.array(options.wantsMatchLengths ? 3 : 2)
            call.reply.array(2)
            call.reply.integer(range.aStart)
            call.reply.integer(range.aEnd)
            call.reply.array(2)
            call.reply.integer(range.bStart)
            call.reply.integer(range.bEnd)
            if options.wantsMatchLengths { call.reply.integer(range.aEnd - range.aStart + 1) }
        }
        call.reply.bulk("len")
        call.reply.integer(total)
    }
}
