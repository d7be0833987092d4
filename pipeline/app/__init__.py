"""Examples for apps, in Kotlin, Swift and TypeScript: made for one bundle from the bundle's own records."""
