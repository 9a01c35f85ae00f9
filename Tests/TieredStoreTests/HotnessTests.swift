import Primitives
import Testing

@testable import TieredStore

/// Proves who stays in RAM: the used before the unused, the proven before the new, and that the
/// hand always finds someone in the end.
struct HotnessTests {
    /// Memory for entries, kept as long as the test.
    private final class Room {
        let at = UnsafeMutableRawPointer.allocate(byteCount: 1 << 20, alignment: 64)
        var used = 0
        deinit { at.deallocate() }
    }

    private let room = Room()

    /// An entry of its own, admitted in epoch `epoch` and used `uses` times in it.
    private func value(_ epoch: UInt8, uses: Int = 0, left: UInt8? = nil) -> Entry {
        precondition(room.used < 1 << 20)
        let entry = Entry(room.at + room.used)
        room.used += 64
        entry.initialise(type: .string, key: ByteView("key"), expiry: nil)
        Hotness.admitted(entry, epoch: epoch, left: left)
        for _ in 0..<uses { Hotness.accessed(entry, epoch: epoch) }
        return entry
    }

    /// Epochs after which the value leaves under a threshold that stands still.
    private func age(_ value: Entry, from epoch: UInt8, _ hotness: Hotness = Hotness()) -> Int {
        (0..<256).first { age in
            var hotness = hotness
            return hotness.isCold(value, epoch: epoch &+ UInt8(age))
        } ?? 256
    }

    @Test(arguments: [0, 100, 250] as [UInt8]) func theMoreItWasUsedTheLongerItStays(_ epoch: UInt8) {
        let threshold = Hotness().threshold
        let unproven = age(value(epoch), from: epoch)
        let returned = age(value(epoch, left: epoch &- 5), from: epoch)
        let used = (1...5).map { age(value(epoch, uses: $0), from: epoch) }
        #expect(unproven == threshold / 8)
        #expect(returned == threshold, "it was in RAM a moment ago: no probation")
        #expect(used == [2, 3, 4, 4, 4].map { $0 * threshold })
    }

    @Test func whoWasAwayForLongIsUnprovenAgain() {
        #expect(!value(40, left: 40).has(Entry.probation))
        #expect(!value(40, left: 8).has(Entry.probation))
        #expect(value(40, left: 7).has(Entry.probation))
        #expect(value(40).has(Entry.probation))
        // The clock wraps.
        #expect(!value(3, left: 250).has(Entry.probation))
        #expect(value(3, left: 200).has(Entry.probation))
    }

    @Test func aUseIsDatedAndCountedToThreeAndTouchesNothingElse() {
        let value = self.value(7)
        let others: UInt32 = ~(3 << Entry.frequencyShift | 0xff << Entry.epochShift)
        let before = value.flags & others
        for use in 1...6 {
            Hotness.accessed(value, epoch: UInt8(249 + use))
            #expect(value.frequency == UInt32(min(use, 3)))
            #expect(value.epoch == UInt8(249 + use))
            #expect(value.flags & others == before)
        }
        #expect(value.key == ByteView("key"))
    }

    @Test func admissionForgetsTheUsesBefore() {
        let value = self.value(7, uses: 3)
        Hotness.admitted(value, epoch: 9, left: 8)
        #expect(value.frequency == 0 && value.epoch == 9)
    }

    /// Shows the hand `cold` values that leave and `warm` that stay, then lets it adjust.
    private func look(_ hotness: inout Hotness, cold: Int, warm: Int) {
        // Used once, 255 epochs ago, and used now: cold and warm under every threshold but 0.
        let old = value(0, uses: 1), new = value(255, uses: 1)
        let seen = (0..<cold + warm).count { hotness.isCold($0 < cold ? old : new, epoch: 255) }
        #expect(seen == cold)
        hotness.adjust()
    }

    @Test func theThresholdFollowsTheShareThatLeaves() {
        var hotness = Hotness()
        look(&hotness, cold: 8, warm: 40)
        #expect(hotness.threshold == 32, "one in six is what is wanted")
        look(&hotness, cold: 7, warm: 41)
        #expect(hotness.threshold == 31)
        look(&hotness, cold: 9, warm: 39)
        #expect(hotness.threshold == 32)
        look(&hotness, cold: 17, warm: 31)
        #expect(hotness.threshold == 41, "far too many leave")
        look(&hotness, cold: 31, warm: 0)
        #expect(hotness.threshold == 41, "too few were looked at")
        look(&hotness, cold: 1, warm: 0)
        #expect(hotness.threshold == 52, "they count with the next")
        for _ in 0..<10 { look(&hotness, cold: 40, warm: 0) }
        #expect(hotness.threshold == 60)
        #expect(age(value(0, uses: 3), from: 0, hotness) == 240, "it can still be reached")
        for expected in (1..<60).reversed() {
            look(&hotness, cold: 0, warm: 48)
            #expect(hotness.threshold == expected)
        }
    }

    /// Method: nothing is cold, round after round, as when all is used all the time.
    @Test func theThresholdReachesZeroAndThenAllLeave() {
        for warmth in [0, 20] {
            var hotness = Hotness()
            for _ in 0..<warmth { look(&hotness, cold: 40, warm: 0) }
            var rounds = 0
            while hotness.threshold > 0, rounds < 100 {
                hotness.relent()
                rounds += 1
            }
            #expect(rounds <= 10, "as many as the demotion hand waits for")
            for uses in 0...3 { #expect(age(value(9, uses: uses), from: 9, hotness) == 0) }
        }
    }

    /// Method: 1000 values, 100 of them used in every epoch, new ones coming in; a hand that visits
    /// all once an epoch. Those in use must stay.
    @Test func aScanPushesOutWhatIsNotUsed() {
        var hotness = Hotness()
        let used = (0..<100).map { _ in value(0) }
        var scanned: [Entry] = [], lost = 0, left = 0
        for epoch in 1...120 {
            let epoch = UInt8(epoch)
            for value in used { Hotness.accessed(value, epoch: epoch) }
            scanned += (0..<100).map { _ in value(epoch) }
            lost += used.count { hotness.isCold($0, epoch: epoch) }
            let before = scanned.count
            scanned.removeAll { hotness.isCold($0, epoch: epoch) }
            left += before - scanned.count
            hotness.adjust()
        }
        #expect(lost == 0)
        #expect(left > 10_000)
    }
}
