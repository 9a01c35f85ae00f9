/// Sorting of which only a part is wanted: GEOSEARCH with COUNT, SORT BY with LIMIT.
///
/// Source: J. Bentley, M. D. McIlroy, "Engineering a Sort Function" (1993), without the parts nobody asks
/// for, as Redis 7.0's pqsort.c does. Equal elements end up where they do in Redis: their order shows.
struct PartialSort<Item> {
    private(set) var items: [Item]
    /// Negative, 0 or positive, as the first comes before, with or after the second.
    private let compare: (Item, Item) -> Int
    private let wanted: ClosedRange<Int>

    /// Sorts so that the items at `wanted` are those a full sort puts there.
    static func sort(
        _ items: [Item], wanted: ClosedRange<Int>, by compare: @escaping (Item, Item) -> Int
    ) -> [Item] {
        var sort = PartialSort(items: items, compare: compare, wanted: wanted)
        sort.run(0, items.count)
        return sort.items
    }

    private func median(_ a: Int, _ b: Int, _ c: Int) -> Int {
        func order(_ i: Int, _ j: Int) -> Int { compare(items[i], items[j]) }
        if order(a, b) < 0 { return order(b, c) < 0 ? b : order(a, c) < 0 ? c : a }
        return order(b, c) > 0 ? b : order(a, c) < 0 ? a : c
    }

    private func pivot(_ a: Int, _ n: Int) -> Int {
        let middle = a + n / 2
        if n <= 7 { return middle }
        let last = a + n - 1
        if n <= 40 { return median(a, middle, last) }
        let d = n / 8
        return median(
            median(a, a + d, a + 2 * d), median(middle - d, middle, middle + d),
            median(last - 2 * d, last - d, last))
    }

    private mutating func insertionSort(_ a: Int, _ n: Int) {
        for i in a + 1..<max(a + 1, a + n) {
            var j = i
            while j > a, compare(items[j - 1], items[j]) > 0 {
                items.swapAt(j, j - 1)
                j -= 1
            }
        }
    }

    private mutating func exchange(_ i: Int, _ j: Int, _ n: Int) {
        for k in 0..<max(0, n) { items.swapAt(i + k, j + k) }
    }

    private func isWanted(_ first: Int, _ last: Int) -> Bool {
        !(wanted.upperBound < first || wanted.lowerBound > last)
    }

    private mutating func run(_ start: Int, _ length: Int) {
        var a = start, n = length
        while n >= 7 {
            items.swapAt(a, pivot(a, n))
            // Equal ones gather at both ends, smaller and larger ones between.
            var pa = a + 1, pb = a + 1, pc = a + n - 1, pd = a + n - 1
            while true {
                while pb <= pc {
                    let order = compare(items[pb], items[a])
                    if order > 0 { break }
                    if order == 0 {
                        items.swapAt(pa, pb)
                        pa += 1
                    }
                    pb += 1
                }
                while pb <= pc {
                    let order = compare(items[pc], items[a])
                    if order < 0 { break }
                    if order == 0 {
                        items.swapAt(pc, pd)
                        pd -= 1
                    }
                    pc -= 1
                }
                if pb > pc { break }
                items.swapAt(pb, pc)
                pb += 1
                pc -= 1
            }
            let end = a + n
            var moved = min(pa - a, pb - pa)
            exchange(a, pb - moved, moved)
            moved = min(pd - pc, end - pd - 1)
            exchange(pb, end - moved, moved)
            let smaller = pb - pa, larger = pd - pc
            if smaller > 1, isWanted(a, a + smaller - 1) { run(a, smaller) }
            guard larger > 1, isWanted(end - larger, end - 1) else { return }
            a = end - larger
            n = larger
        }
        insertionSort(a, n)
    }
}
