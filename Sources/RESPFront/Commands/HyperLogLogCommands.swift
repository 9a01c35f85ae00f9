import Primitives
import RESPWire
import TieredStore

/// HyperLogLogs, byte for byte as in Redis 7.0.
enum HyperLogLogCommands {
    static func rows() -> [Command] {
        let all = Command.Keys.range(first: 1, last: -1, step: 1)
        return [
            row("pfadd", -2, needs: .value, [.write, .growsMemory, .fast], "Adds elements to a HyperLogLog.",
                "key [element [element ...]]", complexity: "O(1) an element", add)
                .access("RW insert"),
            row("pfcount", -2, keys: all, needs: .value, [.readonly, .mayReplicate],
                "Estimates how many different elements were added.", "key [key ...]",
                complexity: "O(N) in the keys", count)
                .access("RW access"),
            row("pfmerge", -2, keys: all, needs: .value, [.write, .growsMemory],
                "Makes a HyperLogLog of all elements of several.", "destkey [sourcekey [sourcekey ...]]",
                complexity: "O(N) in the keys", merge)
                .specs(.at(1, "RW access insert"), .from(2, "RO access")),
            row("pfdebug", 3, keys: .range(first: 2, last: 2, step: 1), needs: .value,
                [.write, .growsMemory, .admin], "Shows the inside of a HyperLogLog.", "subcommand key",
                debug)
                .access("RW access").systemCommand(),
            row("pfselftest", 1, keys: .none, [.admin], "Tests HyperLogLogs against known numbers.", "",
                selfTest)
                .systemCommand(),
        ]
    }

    private static func row(
        _ name: String, _ arity: Int, keys: Command.Keys = .first, needs: Command.Need = .nothing,
        _ flags: CommandFlags, _ summary: String, _ syntax: String, complexity: String = "O(1)",
        _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, keys: keys, needs: needs, flags, group: "hyperloglog", since: "2.8.9",
            complexity: complexity, summary, syntax: syntax, handler)
    }

    private static let corrupt = CommandError.message("INVALIDOBJ Corrupted HLL object detected")

    /// Key `i`'s HyperLogLog, or nil if the key is absent.
    private static func value(_ call: Call, _ i: Int) throws(CommandError) -> ByteView? {
        // Several are only looked at: promoting one must not move another.
        let found = call.keys.count == 1 ? try call.keys.string(i) : try call.keys.peekString(i)
        guard let value = found else { return nil }
        if HyperLogLog.encoding(value) == nil {
            throw .message("WRONGTYPE Key is not a valid HyperLogLog string value.")
        }
        return value
    }

    /// Keeps the key's expiry.
    private static func store(_ call: Call, _ bytes: [UInt8]) throws(CommandError) {
        bytes.withView { call.keys.setString(0, $0, expiry: .keep) }
        // Changed in place as far as OBJECT ENCODING is concerned.
        _ = try call.keys.editString(0, count: bytes.count)
    }

    private static func raise(
        _ call: Call, _ bytes: inout [UInt8], _ register: Int, _ value: UInt8
    ) throws(CommandError) -> Bool {
        do {
            return try HyperLogLog.raise(
                &bytes, register, to: value, limit: call.configuration.hllSparseMaxBytes)
        } catch {
            throw corrupt
        }
    }

    // MARK: PFADD

    /// PFADD key [element …] → 1 if the key is new or a register has changed.
    static func add(_ call: Call) throws(CommandError) {
        try call.requireRoom(HyperLogLog.denseSize)
        let old = try value(call, 0)
        if let old, HyperLogLog.encoding(old) == .dense { return try addDense(call, old) }
        var bytes = old?.array ?? HyperLogLog.empty
        var isChanged = old == nil, failure: CommandError?
        for i in 2..<max(2, call.wordCount) {
            let (register, value) = HyperLogLog.place(call.arguments[i])
            do throws(CommandError) {
                if try raise(call, &bytes, register, value) { isChanged = true }
            } catch {
                failure = error
                break
            }
        }
        if isChanged {
            // Redis 7.0 keeps what was added before it met the damage.
            if failure == nil { bytes[15] |= 0x80 }
            try store(call, bytes)
        } else if old != nil, !call.keys.isRaw(0), bytes.count <= 44 {
            try store(call, bytes)
        }
        if let failure { throw failure }
        if isChanged { call.notify(.string, "pfadd") }
        call.reply.integer(isChanged ? 1 : 0)
    }

    /// Dense registers are changed in place.
    private static func addDense(_ call: Call, _ old: ByteView) throws(CommandError) {
        var raised: [(register: Int, value: UInt8)] = []
        for i in 2..<max(2, call.wordCount) {
            let place = HyperLogLog.place(call.arguments[i])
            if HyperLogLog.register(old, place.register) < place.value { raised.append(place) }
        }
        if !raised.isEmpty {
            let bytes = try call.keys.editString(0, count: old.count)
            for (register, value) in raised where HyperLogLog.register(bytes.view, register) < value {
                HyperLogLog.setRegister(register, value, read: { bytes[$0] }, write: { bytes[$0] = $1 })
            }
            bytes[15] |= 0x80
            call.notify(.string, "pfadd")
        }
        call.reply.integer(raised.isEmpty ? 0 : 1)
    }

    // MARK: PFCOUNT, PFMERGE

    /// PFCOUNT key … → the estimate of one, which it keeps, or of all together.
    static func count(_ call: Call) throws(CommandError) {
        if call.keys.count > 1 {
            let (highest, _) = try highestRegisters(call)
            var histogram = [Int](repeating: 0, count: 64)
            for value in highest { histogram[Int(value)] += 1 }
            return call.reply.integer(Int64(truncatingIfNeeded: HyperLogLog.estimate(histogram)))
        }
        guard let value = try value(call, 0) else { return call.reply.integer(0) }
        let isRaw = call.keys.isRaw(0) || value.count > 44
        if let known = HyperLogLog.cached(value), isRaw {
            return call.reply.integer(Int64(bitPattern: known))
        }
        let estimate: UInt64
        do {
            estimate = try HyperLogLog.cached(value) ?? HyperLogLog.estimate(value)
        } catch {
            throw corrupt
        }
        try call.requireRoom(call.keys.promotionBytes)
        let bytes = try call.keys.editString(0, count: value.count)
        for i in 0..<8 { bytes[8 + i] = UInt8(truncatingIfNeeded: estimate >> UInt64(8 * i)) }
        call.reply.integer(Int64(bitPattern: estimate))
    }

    /// The highest value of each register in all keys, and whether any is dense.
    private static func highestRegisters(_ call: Call) throws(CommandError) -> ([UInt8], Bool) {
        var highest = [UInt8](repeating: 0, count: HyperLogLog.registers), isDense = false
        for i in 0..<call.keys.count {
            guard let value = try value(call, i) else { continue }
            if HyperLogLog.encoding(value) == .dense { isDense = true }
            call.keys.touch(i)
            let isSound = HyperLogLog.forEachRun(value) { first, length, value in
                if value > 0 { for j in first..<first + length { highest[j] = max(highest[j], value) } }
            }
            if !isSound { throw corrupt }
        }
        return (highest, isDense)
    }

    /// PFMERGE destination [source …] → OK.
    static func merge(_ call: Call) throws(CommandError) {
        try call.requireRoom(HyperLogLog.denseSize)
        let (highest, isDense) = try highestRegisters(call)
        var bytes = try value(call, 0)?.array ?? HyperLogLog.empty
        if isDense, bytes[4] == HyperLogLog.Encoding.sparse.rawValue {
            do { bytes = try HyperLogLog.dense(bytes) } catch { throw corrupt }
        }
        for (i, value) in highest.enumerated() where value > 0 { _ = try raise(call, &bytes, i, value) }
        bytes[15] |= 0x80
        try store(call, bytes)
        call.notify(.string, "pfadd")
        call.reply.ok()
    }

    // MARK: PFDEBUG, PFSELFTEST

    /// PFDEBUG GETREG | DECODE | ENCODING | TODENSE key.
    static func debug(_ call: Call) throws(CommandError) {
        guard let value = try value(call, 0) else { throw .message("ERR The specified key does not exist") }
        let isSparse = HyperLogLog.encoding(value) == .sparse
        switch call.option(1) {
        case "getreg":
            try makeDense(call, value)
            guard let dense = try self.value(call, 0) else { throw .noSuchKey }
            call.reply.array(HyperLogLog.registers)
            for i in 0..<HyperLogLog.registers {
                call.reply.integer(Int(HyperLogLog.register(dense, i)))
            }
        case "decode":
            if !isSparse { throw .message("ERR HLL encoding is not sparse") }
            call.bulk(decoded(value))
        case "encoding": call.simple(isSparse ? "sparse" : "dense")
        case "todense":
            try makeDense(call, value)
            call.reply.integer(isSparse ? 1 : 0)
        default: throw .message("ERR Unknown PFDEBUG subcommand '\(call.word(1))'")
        }
    }

    private static func makeDense(_ call: Call, _ value: ByteView) throws(CommandError) {
        guard HyperLogLog.encoding(value) == .sparse else { return }
        try call.requireRoom(HyperLogLog.denseSize)
        let bytes: [UInt8]
        do { bytes = try HyperLogLog.dense(value.array) } catch { throw corrupt }
        try store(call, bytes)
    }

    private static func decoded(_ value: ByteView) -> String {
        var parts: [String] = []
        var at = HyperLogLog.header
        while at < value.count {
            let run = Run(value, at)
            if run.value > 0 {
                parts.append("v:\(run.value),\(run.length)")
            } else {
                parts.append("\(run.size == 1 ? "z" : "Z"):\(run.length)")
            }
            at += run.size
        }
        return parts.joined(separator: " ")
    }

    /// PFSELFTEST → OK, or what is wrong: registers keep what is set, and estimates of known numbers of
    /// elements are near them.
    static func selfTest(_ call: Call) throws(CommandError) {
        var dense = [UInt8](repeating: 0, count: HyperLogLog.denseSize)
        for i in 0..<HyperLogLog.registers { HyperLogLog.setRegister(&dense, i, UInt8(i * 7 & 63)) }
        let keeps = dense.withView { view in
            (0..<HyperLogLog.registers).allSatisfy { HyperLogLog.register(view, $0) == UInt8($0 * 7 & 63) }
        }
        if !keeps { throw .message("ERR TESTFAILED a register does not keep what is set") }
        var bytes = HyperLogLog.empty, added = 0
        for goal in [100, 10_000, 100_000] {
            while added < goal {
                let (register, value) = Array("ele:\(added)".utf8).withView { HyperLogLog.place($0) }
                _ = try raise(call, &bytes, register, value)
                added += 1
            }
            let estimate = bytes.withView { try? HyperLogLog.estimate($0) } ?? 0
            // Six times the standard error of 0.81 %.
            if abs(Double(estimate) - Double(goal)) > Double(goal) * 0.05 {
                throw .message("ERR TESTFAILED \(goal) elements are estimated as \(estimate)")
            }
        }
        call.reply.ok()
    }
}
