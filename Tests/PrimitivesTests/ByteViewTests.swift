import Primitives
import Testing

/// Method: compares each operation of a view with the same operation on an array of bytes.
@Suite struct ByteViewTests {
    @Test func matchesIgnoresASCIICaseOnly() {
        "SeT".withUTF8Copy { view in
            #expect(view.matches("set"))
            #expect(!view.matches("sett"))
            #expect(!view.matches("get"))
        }
    }

    @Test func ordersAsMemcmpShorterFirst() {
        "ab".withUTF8Copy { a in
            "abc".withUTF8Copy { b in
                #expect(a < b)
                #expect(!(b < a))
                #expect(!(a == b))
            }
        }
    }
}

extension String {
    func withUTF8Copy(_ body: (ByteView) -> Void) { Array(utf8).withView(body) }
}
