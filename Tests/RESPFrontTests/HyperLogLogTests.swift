import Primitives
import Testing
@testable import RESPFront

/// Strings that claim to be a HyperLogLog and are not end in an error, never in a trap.
///
/// Method: sound ones are made by adding elements, then bytes are changed, cut off and put in; random
/// bytes behind a sound header as well. All that the commands do is done to each.
struct HyperLogLogTests {
    @Test func damagedStringsAreErrors() {
        var random = Random(seed: 11)
        var sound = 0, corrupt = 0
        for round in 0..<400 {
            var bytes = HyperLogLog.empty
            for i in 0..<Int.random(in: 0..<200, using: &random) { add(&bytes, "\(round) \(i)", limit: 300) }
            damage(&bytes, &random)
            guard bytes.withView({ HyperLogLog.encoding($0) }) != nil else { continue }
            let isSound = bytes.withView { HyperLogLog.forEachRun($0) { first, length, value in
                #expect(first >= 0 && length > 0 && first + length <= HyperLogLog.registers && value < 64)
            } }
            if isSound { sound += 1 } else { corrupt += 1 }
            let estimates = bytes.withView { (try? HyperLogLog.estimate($0)) != nil }
            #expect(estimates == isSound)
            #expect(((try? HyperLogLog.dense(bytes)) != nil) == isSound)
            for i in 0..<50 { add(&bytes, "more \(i)", limit: Int.random(in: 0..<400, using: &random)) }
        }
        #expect(sound > 20 && corrupt > 20, "\(sound) sound, \(corrupt) corrupt")
    }

    private func damage(_ bytes: inout [UInt8], _ random: inout Random) {
        for _ in 0..<Int.random(in: 0..<4, using: &random) {
            let at = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<5, using: &random) {
            case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
            case 1: bytes.insert(UInt8.random(in: 0...255, using: &random), at: at)
            case 2: bytes.removeLast(Int.random(in: 0..<min(bytes.count, 30), using: &random))
            case 3: bytes += (0..<20).map { _ in UInt8.random(in: 0...255, using: &random) }
            default: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            }
            if bytes.isEmpty { bytes = [0] }
        }
    }

    private func add(_ bytes: inout [UInt8], _ element: String, limit: Int) {
        let (register, value) = Array(element.utf8).withView { HyperLogLog.place($0) }
        _ = try? HyperLogLog.raise(&bytes, register, to: value, limit: limit)
    }

    /// Every register keeps what is set and leaves its neighbours alone.
    @Test func registersAreApart() {
        var bytes = [UInt8](repeating: 0, count: HyperLogLog.denseSize)
        for i in 0..<HyperLogLog.registers { HyperLogLog.setRegister(&bytes, i, UInt8(i * 7 & 63)) }
        bytes.withView { view in
            for i in 0..<HyperLogLog.registers { #expect(HyperLogLog.register(view, i) == UInt8(i * 7 & 63)) }
        }
    }
}

/// Bits of strings against the same done bit by bit.
struct BitsTests {
    @Test func countsAndFindsAsBitByBit() {
        var random = Random(seed: 12)
        for _ in 0..<300 {
            let count = Int.random(in: 1..<60, using: &random)
            let fill: [UInt8] = [0, 0xff, UInt8.random(in: 0...255, using: &random)]
            var bytes = [UInt8](repeating: fill.randomElement(using: &random)!, count: count)
            bytes[Int.random(in: 0..<count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            let bits = (0..<count * 8).map { bytes[$0 / 8] >> (7 - UInt8($0 % 8)) & 1 == 1 }
            let first = Int.random(in: 0..<bits.count, using: &random)
            let last = Int.random(in: first..<bits.count, using: &random)
            let width = Int.random(in: 1...64, using: &random)
            bytes.withView { view in
                #expect(view.bitCount(first, last) == bits[first...last].filter { $0 }.count)
                for wanted in [true, false] {
                    #expect(view.firstBit(wanted, first, last) == bits[first...last].firstIndex(of: wanted))
                }
                let field = (first..<first + width).reduce(UInt64(0)) {
                    $0 << 1 | ($1 < bits.count && bits[$1] ? 1 : 0)
                }
                #expect(view.bitField(first, bits: width) == field)
            }
        }
    }
}
