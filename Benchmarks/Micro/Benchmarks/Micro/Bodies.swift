import Glibc

/// The functions of the root package's library TierMicro, whose path is in TIERD_MICRO.
struct Bodies {
    let count: @convention(c) () -> Int
    private let nameFunction: @convention(c) (Int) -> UnsafeMutablePointer<CChar>
    let requests: @convention(c) (Int) -> Int
    let prepare: @convention(c) (Int) -> UnsafeMutableRawPointer
    let run: @convention(c) (UnsafeMutableRawPointer, Int) -> Void
    let end: @convention(c) (UnsafeMutableRawPointer) -> Void

    init() {
        guard let path = getenv("TIERD_MICRO"), let library = dlopen(path, RTLD_NOW) else {
            fatalError("TIERD_MICRO does not name the library TierMicro: run tools/micro")
        }
        func find<F>(_ name: String, _ type: F.Type) -> F {
            guard let symbol = dlsym(library, name) else { fatalError("the library has no \(name)") }
            return unsafeBitCast(symbol, to: type)
        }
        count = find("micro_count", (@convention(c) () -> Int).self)
        nameFunction = find("micro_name", (@convention(c) (Int) -> UnsafeMutablePointer<CChar>).self)
        requests = find("micro_requests", (@convention(c) (Int) -> Int).self)
        prepare = find("micro_prepare", (@convention(c) (Int) -> UnsafeMutableRawPointer).self)
        run = find("micro_run", (@convention(c) (UnsafeMutableRawPointer, Int) -> Void).self)
        end = find("micro_end", (@convention(c) (UnsafeMutableRawPointer) -> Void).self)
    }

    func name(_ index: Int) -> String {
        let text = nameFunction(index)
        defer { free(text) }
        return String(cString: text)
    }
}
