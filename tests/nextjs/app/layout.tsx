import type { ReactNode } from "react";
import "otel-bridge-dashboard/styles.css";

export const metadata = { title: "Work", icons: "data:," };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
