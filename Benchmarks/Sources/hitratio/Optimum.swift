/// The most hits any policy can have: what is needed last leaves first (Belady, 1966). A value may also not
/// be kept.
struct Optimum {
    private struct Candidate {
        var nextUse: Int32
        var key: Int32
    }

    /// Hits among accesses from `countedFrom` on, with room for `capacities[i]` values at access i.
    static func hits(_ accesses: [Int32], keys: Int, capacities: [Int32], countedFrom: Int) -> Int {
        let never = Int32.max
        var following = [Int32](repeating: never, count: accesses.count)
        var last = [Int32](repeating: never, count: keys)
        for i in accesses.indices.reversed() {
            following[i] = last[Int(accesses[i])]
            last[Int(accesses[i])] = Int32(i)
        }
        // When each value that is there is needed next; -1: it is not there.
        var present = [Int32](repeating: -1, count: keys)
        var heap = Heap(), count = 0, hits = 0
        for (i, key) in accesses.enumerated() {
            if present[Int(key)] >= 0 {
                if i >= countedFrom { hits += 1 }
            } else {
                count += 1
            }
            present[Int(key)] = following[i]
            heap.push(Candidate(nextUse: following[i], key: key))
            while count > Int(capacities[i]), let candidate = heap.pop() {
                // What was used meanwhile stands in the heap with another time.
                guard present[Int(candidate.key)] == candidate.nextUse else { continue }
                present[Int(candidate.key)] = -1
                count -= 1
            }
        }
        return hits
    }

    /// A binary heap, the latest next use first.
    private struct Heap {
        private var items: [Candidate] = []

        mutating func push(_ item: Candidate) {
            items.append(item)
            var at = items.count - 1
            while at > 0, items[(at - 1) / 2].nextUse < item.nextUse {
                items[at] = items[(at - 1) / 2]
                at = (at - 1) / 2
            }
            items[at] = item
        }

        mutating func pop() -> Candidate? {
            guard let first = items.first, let item = items.popLast() else { return nil }
            if items.isEmpty { return first }
            var at = 0
            while true {
                var child = 2 * at + 1
                if child >= items.count { break }
                if child + 1 < items.count, items[child + 1].nextUse > items[child].nextUse { child += 1 }
                if items[child].nextUse <= item.nextUse { break }
                items[at] = items[child]
                at = child
            }
            items[at] = item
            return first
        }
    }
}
