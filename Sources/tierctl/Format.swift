import Glibc

/// Numbers as people read them, and bars.
enum Format {
    static func fixed(_ value: Double, _ digits: Int) -> String {
        let scale = pow(10, Double(digits))
        let rounded = (value * scale).rounded() / scale
        if digits == 0 { return String(Int(rounded)) }
        let whole = Int(rounded), part = Int((abs(rounded - Double(whole)) * scale).rounded())
        let digitsText = String(part)
        return "\(whole)." + String(repeating: "0", count: max(0, digits - digitsText.count)) + digitsText
    }

    /// 3.4 GiB
    static func bytes(_ count: Double) -> String {
        var value = count, unit = 0
        let units = ["B", "KiB", "MiB", "GiB", "TiB"]
        while value >= 1024, unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        return fixed(value, unit == 0 || value >= 100 ? 0 : 1) + " " + units[unit]
    }

    /// 1,234,567
    static func count(_ value: Double) -> String {
        let digits = String(Int(value.rounded()))
        var text = ""
        for (i, digit) in digits.enumerated() {
            if i > 0, (digits.count - i) % 3 == 0 { text += "," }
            text.append(digit)
        }
        return text
    }

    static func percent(_ share: Double) -> String { fixed(share * 100, 1) + " %" }

    /// A bar of `width` cells, filled in eighths.
    static func bar(_ share: Double, width: Int) -> String {
        let eighths = Int((min(max(share, 0), 1) * Double(width * 8)).rounded())
        let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
        var text = String(repeating: "█", count: eighths / 8) + parts[eighths % 8]
        let filled = eighths / 8 + (eighths % 8 == 0 ? 0 : 1)
        text += String(repeating: "░", count: width - filled)
        return text
    }

    static func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    static func left(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
