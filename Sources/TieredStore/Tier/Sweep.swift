import Primitives

/// Where a clock hand stands: over all stripes, or over every `step`-th, its worker's.
///
/// Every worker's demotion hand goes over all stripes, from a place of its own: RAM that one
/// loop's clients need may be held by values of any stripe, and another loop may be asleep.
struct SweepHand {
    var stripe: Int
    let step: Int
    var database = 0
    var bucket = 0
    /// Full rounds made.
    var rounds = 0

    init(stripe: Int, step: Int) {
        self.stripe = stripe
        self.step = step
    }
}

extension StoreWorker {
    /// Moves a hand to the next table.
    private func advance(_ hand: inout SweepHand) {
        hand.bucket = 0
        hand.database += 1
        if hand.database < store.options.databases { return }
        hand.database = 0
        hand.stripe += hand.step
        if hand.stripe >= store.options.stripes {
            hand.stripe = hand.step == 1 ? 0 : index
            hand.rounds += 1
        }
    }

    /// Visits up to `buckets` buckets of the hand's stripes under their locks; `visit` gets each
    /// occupied slot whose low bits contain `wanted` and returns false to stop.
    /// The visitor may remove the slot it is given. Returns false when it stopped the sweep.
    @discardableResult
    func sweep(
        _ hand: inout SweepHand, buckets: Int, wanted: UInt64,
        _ visit: (UnsafeMutablePointer<UInt64>, UnsafeMutablePointer<Table>, Int) -> Bool
    ) -> Bool {
        guard hand.stripe < store.options.stripes else { return true }
        var left = buckets
        while left > 0 {
            let table = stripes.tables(hand.stripe) + hand.database
            let stripe = hand.stripe
            stripes.lock(stripe)
            guard table.pointee.count > 0 else {
                stripes.unlock(stripe)
                left -= 1
                advance(&hand)
                continue
            }
            let end = min(Int(table.pointee.buckets), hand.bucket + min(left, 64))
            var wantsMore = true
            while hand.bucket < end, wantsMore, hand.bucket < Int(table.pointee.buckets) {
                left -= 1
                wantsMore = visitBucket(hand.bucket, table, hand.database, wanted, visit)
                hand.bucket += 1
            }
            let isDone = hand.bucket >= Int(table.pointee.buckets)
            stripes.unlock(stripe)
            if isDone { advance(&hand) }
            if !wantsMore { return false }
        }
        return true
    }

    private func visitBucket(
        _ bucket: Int, _ table: UnsafeMutablePointer<Table>, _ database: Int, _ wanted: UInt64,
        _ visit: (UnsafeMutablePointer<UInt64>, UnsafeMutablePointer<Table>, Int) -> Bool
    ) -> Bool {
        for i in 0..<8 {
            // Removing can shrink the table: ask again where the slots are.
            guard let slots = table.pointee.slots, bucket < Int(table.pointee.buckets) else { return true }
            let slot = slots + bucket * 8 + i
            let content = slot.pointee
            if content & Table.offsetMask != 0, content & wanted == wanted {
                if !visit(slot, table, database) { return false }
            }
        }
        return true
    }
}
