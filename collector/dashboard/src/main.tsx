import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { MonitoringDashboard } from "./MonitoringDashboard";
import "./styles/fonts.css";
import "./styles.css";

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <MonitoringDashboard />
    </StrictMode>,
  );
}
